import Glibc
import Synchronization
import Telemetry
import TestKit
import Testing

@Suite("What the service manager is told")
struct ServiceManagerTests {
    @Test("ready and stopping are told under a path and under an abstract name", arguments: [false, true])
    func states(isAbstract: Bool) async throws {
        let folder = TemporaryFolder()
        let manager = NotifySocket(isAbstract ? "@abbozzo-test-\(getpid())" : folder.path + "/notify")
        let service = try #require(ServiceManager(environment: ["NOTIFY_SOCKET": manager.variable]))
        await service.ready()
        await service.stopping()
        #expect(manager.heard == ["READY=1", "STOPPING=1"])
        #expect(service.watchdog == nil)
        service.alive(now: 1)
        #expect(manager.heard == [], "nobody asked for signs of life")
    }

    @Test("signs of life are told four times in the watchdog's time, and not of work that stands for as long")
    func watchdog() throws {
        let folder = TemporaryFolder()
        let manager = NotifySocket(folder.path + "/notify")
        let environment = ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "4000"]
        let service = try #require(ServiceManager(environment: environment))
        #expect(service.watchdog == 4_000_000)
        // A few at a time: the kernel keeps only ten datagrams for who does not read.
        for millisecond in 0..<20 {
            for part in 0..<10 { service.alive(now: UInt64(1_000_000_000 + millisecond * 1_000_000 + part * 100_000)) }
            #expect(manager.heard == ["WATCHDOG=1"])
        }
        service.alive(now: 2_000_000_000, standing: 3_999_999)
        #expect(manager.heard == ["WATCHDOG=1"])
        for second in 3..<10 { service.alive(now: UInt64(second) * 1_000_000_000, standing: 4_000_000) }
        #expect(manager.heard == [])
    }

    @Test(
        "a manager that is behind with reading hears that the process is ready, whatever signs of life it missed",
        .timeLimit(.minutes(1)))
    func fullQueue() async throws {
        let folder = TemporaryFolder()
        let manager = NotifySocket(folder.path + "/notify")
        let environment = ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "4000"]
        let service = try #require(ServiceManager(environment: environment))
        // More than any queue holds; the last ones are dropped.
        for second in 1...2000 { service.alive(now: UInt64(second) * 1_000_000_000) }
        let isTold = Atomic<Bool>(false)
        async let telling: Void = {
            await service.ready()
            isTold.store(true, ordering: .releasing)
        }()
        // Time in which a message that is not waited for would be lost.
        try await Task.sleep(for: .milliseconds(100))
        let isEarly = isTold.load(ordering: .acquiring)
        #expect(!isEarly, "it did not wait")
        var heard: [String] = []
        while !heard.contains("READY=1") {
            heard += manager.heard
            try #require(heard.count < 2000)
            try await Task.sleep(for: .milliseconds(1))
        }
        await telling
        #expect(heard.dropLast().allSatisfy { $0 == "WATCHDOG=1" } && heard.count > 2)
    }

    @Test("a watchdog for another process is none, and no manager is no manager")
    func others() async throws {
        let folder = TemporaryFolder()
        let manager = NotifySocket(folder.path + "/notify")
        let environment = ["NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "4000", "WATCHDOG_PID": "17"]
        #expect(try #require(ServiceManager(environment: environment, processID: 17)).watchdog == 4_000_000)
        #expect(try #require(ServiceManager(environment: environment, processID: 18)).watchdog == nil)
        for path in [nil, "", "relative", "@", "/" + String(repeating: "a", count: 107)] {
            #expect(ServiceManager(environment: path.map { ["NOTIFY_SOCKET": $0] } ?? [:]) == nil)
        }
        // A manager that went away stops nobody.
        let gone = try #require(ServiceManager(environment: ["NOTIFY_SOCKET": folder.path + "/gone"]))
        await gone.ready()
    }
}
