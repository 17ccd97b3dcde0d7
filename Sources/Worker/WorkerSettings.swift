package import Plan
internal import Tensors
package import Wire

/// How one worker process is run.
package struct WorkerSettings: Sendable {
    /// Its name, unique in the cluster: the order of names is the order of the pipeline.
    package var name: String
    /// The coordinator's control socket.
    package var coordinator: Endpoint
    /// Folder of the model, in diffusers layout.
    package var modelFolder: String
    /// Where it listens for the worker with the span before; port 0 lets the system choose.
    package var listen = Endpoint(host: "127.0.0.1", port: 0)
    /// Host name or address under which other workers reach it; needed when it listens on all interfaces and its host
    /// name is not known to the others.
    package var advertisedHost: String?
    /// Threads that compute; more than cores of the machine slow each other down.
    package var threads = 1
    /// Cores that the process stays on; empty for wherever the kernel puts it.
    ///
    /// With as many threads as cores, each of those that compute beside the first one stays on a core of its own.
    package var cores: [Int] = []
    /// Number format of the transformer's matrix products; a cluster has one.
    package var compute = ComputeFormat.f32
    /// Most memory it may use, bytes; 0 for all that the machine and its control group have.
    ///
    /// Told to the coordinator, which plans with it.
    package var memoryCap: UInt64 = 0
    /// What it may be asked to do.
    package var roles = Set(Role.allCases)
    /// Keys.
    package var security = Security.none
    /// Times and bounds.
    package var limits = WorkerCore.Limits()
    /// Whether and where it measures its speed before it says hello.
    package var benchmark = Benchmark(mode: .off)
    /// Version of the program, for the coordinator's list of nodes.
    package var build = "0.1.0"
    /// Called by the loop ten times a second, with the monotonic time and the time for which the task in hand has not
    /// moved on, both in nanoseconds.
    package var onTurn: (@Sendable (UInt64, UInt64) -> Void)?

    /// A worker with the defaults.
    package init(name: String, coordinator: Endpoint, modelFolder: String) {
        self.name = name
        self.coordinator = coordinator
        self.modelFolder = modelFolder
    }
}

/// A worker could not start.
package struct WorkerError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What is wrong.
    package enum Reason: Equatable, Sendable {
        /// The name is empty, too long, or has characters that logs and metrics do not want.
        case name(String)
        /// No thread, or more than a machine can have.
        case threads(Int)
        /// More threads than cores to keep them on.
        case cores(threads: Int, cores: Int)
        /// It was given nothing to do.
        case noRoles
        /// The environment picks no kernels that this processor runs: what is wrong.
        case kernels(String)
        /// The kernels that the environment picks have no such number format.
        case compute(ComputeFormat)
    }

    /// What is wrong.
    package let reason: Reason

    /// Wraps the reason.
    package init(_ reason: Reason) { self.reason = reason }

    /// One line with what, where and the next step.
    package var description: String {
        switch reason {
        case .name(let name):
            "\(name.prefix(80).debugDescription) is no name for a worker: use 1 to 64 letters, digits, '.', '_' or '-', "
                + "but not \"coordinator\""
        case .threads(let count): "\(count) threads cannot compute: give 1 to 1024"
        case .cores(let threads, let cores):
            "threads would wait for each other, \(threads) on \(cores == 1 ? "one core" : "\(cores) cores"): give fewer of them, "
                + "or more cores"
        case .kernels(let refusal): refusal
        case .compute(let format):
            "OpenBLAS multiplies f32 only: compute in f32 instead of \(format.rawValue), or unset ABBOZZO_KERNELS"
        case .noRoles: "a worker without roles has nothing to do: give some of encoder, blocks, decoder"
        }
    }
}

extension WorkerSettings {
    /// Refuses what cannot work, before anything is opened.
    package func check() throws(WorkerError) {
        guard WorkerName.isValid(name) else { throw WorkerError(.name(name)) }
        guard 1...1024 ~= threads else { throw WorkerError(.threads(threads)) }
        guard cores.isEmpty || threads <= cores.count else {
            throw WorkerError(.cores(threads: threads, cores: cores.count))
        }
        guard !roles.isEmpty else { throw WorkerError(.noRoles) }
        if let refusal = KernelClass.refusedWish { throw WorkerError(.kernels(refusal)) }
    }
}
