#include "CShims.h"

// Not glibc's, whose structure ends before the counter.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int64_t abz_read_bytes(int socket) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
    // Kernels before 4.1 do not count.
    if (size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received) return -1;
    int unread = 0;
    if (ioctl(socket, SIOCINQ, &unread) != 0) return -1;
    return (int64_t)info.tcpi_bytes_received - unread;
}
