#!/bin/bash
# Starts, shows and stops a cluster over ssh, from a list of hosts such as configs/hosts.example.
#
#   Scripts/cluster-ssh.sh start HOSTS       makes keys where there are none, starts the coordinator, then the workers
#   Scripts/cluster-ssh.sh status HOSTS      what each node does
#   Scripts/cluster-ssh.sh stop HOSTS        drains: pictures in flight are kept and go on at the next start
#
# Every host needs the program and, for workers, the model at the same path: PROGRAM (default abbozzo, on the PATH that ssh
# gives a command, such as /usr/local/bin) and MODEL (default: the demo model beside the program). State, keys, logs and
# pictures are in FOLDER (default abbozzo-cluster, below the home of the ssh user). ssh must not ask for a password. For
# services use deploy/systemd.
set -euo pipefail

fail() {
    echo "cluster-ssh: $*" >&2
    exit 1
}
verb=${1:-}
hosts=${2:-}
[[ $verb =~ ^(start|status|stop)$ && -n $hosts ]] || {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 1
}
[ -r "$hosts" ] || fail "$hosts cannot be read; copy configs/hosts.example and name your machines in it"
# As a shell on the other side reads them; ~/ is its user's home.
quoted() {
    case $1 in
    '~/'*) printf '~/%q' "${1#'~/'}" ;;
    *) printf '%q' "$1" ;;
    esac
}
program=$(quoted "${PROGRAM:-abbozzo}")
folder=$(quoted "${FOLDER:-abbozzo-cluster}")
model=${MODEL:+--model $(quoted "$MODEL")}
# The other side looks for it in its home and runs it in FOLDER.
case ${PROGRAM:-} in
/* | '~/'*) ;;
*/*) fail "PROGRAM is $PROGRAM; give its whole path, from / or ~/" ;;
esac
case ${MODEL:-/} in
/* | '~/'*) ;;
*) fail "MODEL is $MODEL; give its whole path, from / or ~/" ;;
esac

# Lines: role name ssh-target address [options…]
coordinator=""
workers=()
names=" "
number=0
while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%%#*}
    [ -n "${line//[[:space:]]/}" ] || continue
    read -r role name target address options <<<"$line"
    [[ -n ${address:-} && $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
        fail "$hosts, line $number: write ROLE NAME SSH-TARGET ADDRESS [OPTIONS]"
    # Sockets listen there, and a name may stand for other addresses.
    [[ $address =~ ^([0-9.]+|\[[0-9a-fA-F:]+\])$ ]] ||
        fail "$hosts, line $number: $address is no address such as 10.0.0.1 or [fd00::1]"
    case $role in
    coordinator)
        [ -z "$coordinator" ] || fail "$hosts, line $number: there can be one coordinator"
        coordinator="$target $address ${options:-}"
        ;;
    worker)
        # Keys, logs and process numbers are files of these names.
        [ "$name" != coordinator ] ||
            fail "$hosts, line $number: the coordinator's own key has this name; give the worker another"
        [[ $names != *" $name "* ]] || fail "$hosts, line $number: there is another worker $name; give this one another name"
        names+="$name "
        workers+=("$name $target $address ${options:-}")
        ;;
    *) fail "$hosts, line $number: the role is coordinator or worker, not $role" ;;
    esac
done <"$hosts"
[ -n "$coordinator" ] || fail "$hosts names no coordinator"
[ ${#workers[@]} -gt 0 ] || fail "$hosts names no worker"
read -r main at main_options <<<"$coordinator"

remote() { # target, command…
    local target=$1
    shift
    ssh -n -o BatchMode=yes -o ConnectTimeout=10 "$target" "$@"
}

# What tells on the other side whether the process in NAME.pid is this daemon: after a restart of the machine another one may
# have its number. It works in FOLDER, and the coordinator's verb, or a worker's name, is a word of its command.
is_running() { # name
    echo "[ -f $1.pid ] && [ /proc/\$(cat $1.pid)/cwd -ef . ] &&
        tr '\\0' '\\n' 2>/dev/null < /proc/\$(cat $1.pid)/cmdline | grep -qxF -e $1"
}

# Starts a program that outlives the connection, and waits until it says that it is ready or ends: a worker first measures
# its speed, which takes minutes where a large model's disk is slow.
launch() { # target, name, command
    remote "$1" "mkdir -p $folder && cd $folder
        if $(is_running "$2"); then echo '$2 runs already'; exit 0; fi
        rm -f $2.out && : > $2.out
        setsid nohup $3 > $2.out 2>> $2.log < /dev/null &
        pid=\$!
        echo \$pid > $2.pid
        if timeout 1800 tail -n +1 -F --pid=\$pid $2.out 2>/dev/null | grep -q -m 1 -E '^(ready|started) '; then
            echo '$2 is ready'
        else
            tail -n 5 $2.log >&2
            exit 1
        fi" || { echo "cluster-ssh: $2 did not start on $1; its log is $folder/$2.log there" >&2; return 1; }
}

# Waits a little until the coordinator lists the workers: one that it refuses (another model, another kernel class) ends.
joined() { # name…
    remote "$main" "cd $folder
        for try in 1 2 3 4 5 6 7 8 9 10; do
            there=\$($program nodes ls --coordinator tcp://$at:5792 --keys keys) || exit 1
            missing=''
            for name in $*; do
                echo \"\$there\" | awk 'NR > 2 && \$2 !~ /^(lost|drained,)/ { print \$1 }' | grep -qxF -e \$name || missing=\"\$missing \$name\"
            done
            [ -n \"\$missing\" ] || break
            sleep 1
        done
        echo \"\$there\"
        [ -z \"\$missing\" ] || { echo \"not there:\$missing; see NAME.log in $folder on their machines\" >&2; exit 1; }"
}

end() { # target, name: SIGTERM, then wait for the end
    remote "$1" "cd $folder 2>/dev/null && $(is_running "$2") || { echo '$2 does not run'; exit 0; }
        pid=\$(cat $2.pid)
        kill \$pid 2>/dev/null && timeout 1800 tail --pid=\$pid -f /dev/null
        if kill -0 \$pid 2>/dev/null; then echo '$2 still runs' >&2; exit 1; fi
        rm -f $2.pid && echo '$2 has stopped'"
}

case $verb in
start)
    for target in "$main" "${workers[@]}"; do
        [ "$target" = "$main" ] || read -r _ target _ <<<"$target"
        remote "$target" "command -v $program" >/dev/null ||
            fail "on $target no command of ssh finds $program (or ssh itself failed, see above): give its path as PROGRAM"
    done
    remote "$main" "umask 077 && mkdir -p $folder && cd $folder && { [ -f keys/coordinator.key ] || $program keys init --keys keys; }"
    for worker in "${workers[@]}"; do
        read -r name target address options <<<"$worker"
        # Once: a key that was revoked stays so. Another's secret key under this name stays where it is.
        remote "$main" "umask 077 && cd $folder || exit 1
            if ! [ -f keys/$name.key ]; then
                $program keys new worker $name --keys keys || exit 1
                $program keys authorize keys/$name.pub --role worker --keys keys ||
                    { rm -f keys/$name.key keys/$name.pub; exit 1; }
            fi
            read -r _ owner role _ < keys/$name.key
            if [ \"\$owner \$role\" != '$name worker' ]; then
                echo 'keys/$name.key is not the key of a worker $name; give the worker another name' >&2
                exit 1
            fi" >/dev/null || fail "no key for $name from $folder on $main, see above"
        # The secret key travels inside ssh and is never on this machine's disk.
        for file in "$name.key" coordinator.pub; do
            # Nothing arrives when the other end cannot be read: the file that is there stays then.
            remote "$main" "cat $folder/keys/$file" | ssh -o BatchMode=yes "$target" \
                "umask 077; mkdir -p $folder/keys && cd $folder/keys && cat > .$file && [ -s .$file ] && mv .$file $file" ||
                fail "$file did not get from $main to $target, see above"
        done
    done
    launch "$main" coordinator "$program coordinator --control tcp://$at:5790 --data tcp://$at:5791 \
        --client tcp://$at:5792 --events tcp://$at:5793 --output pictures --state state --keys keys \
        --workers ${#workers[@]} $main_options" || exit 1
    status=0
    for worker in "${workers[@]}"; do
        read -r name target address options <<<"$worker"
        launch "$target" "$name" "$program worker --name $name --coordinator tcp://$at:5790 --bind tcp://$address:0 \
            --keys keys $model $options" || status=1
    done
    # shellcheck disable=SC2086 # one word a name
    joined $names || status=1
    [ "$status" = 0 ] ||
        echo "cluster-ssh: at the first start the coordinator waits for all ${#workers[@]} workers before it draws" >&2
    echo "submit on $main: cd $folder && $program submit PROMPTS --coordinator tcp://$at:5792 --keys keys"
    exit "$status"
    ;;
status) remote "$main" "cd $folder && $program nodes ls --coordinator tcp://$at:5792 --keys keys" ;;
stop)
    status=0
    # First, or it would cut the layers anew over those that are left, again and again.
    end "$main" coordinator || status=1
    for worker in "${workers[@]}"; do
        read -r name target _ <<<"$worker"
        end "$target" "$name" || status=1
    done
    exit "$status"
    ;;
esac
