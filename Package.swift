// swift-tools-version: 6.2
import PackageDescription

/// Settings of every target of ours: explicit existentials, no leaking imports, no warnings.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

/// For rooms with loops over tensors: optimised in debug builds too, or tests take minutes.
let hot: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]

func room(_ name: String, _ dependencies: [Target.Dependency] = [], _ settings: [SwiftSetting] = strict) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], resources: [Resource]? = nil) -> Target {
    .testTarget(
        name: name + "Tests", dependencies: dependencies + ["TestKit"], resources: resources, swiftSettings: hot)
}

let log: Target.Dependency = .product(name: "Logging", package: "swift-log")
let metrics: Target.Dependency = .product(name: "Metrics", package: "swift-metrics")

let package = Package(
    name: "abbozzo",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "abbozzo", targets: ["abbozzo"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", exact: "2.13.0"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", exact: "1.0.2"),
    ],
    targets: [
        // C: system libraries and kernels.
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
        .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
        .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .target(name: "CShims", dependencies: ["CPNG"], linkerSettings: [.linkedLibrary("png")]),
        .target(name: "CKernels", cSettings: [.unsafeFlags(["-O3"])], linkerSettings: [.linkedLibrary("m")]),

        // Prompt to picture.
        room("Plan"),
        room("Tensors", ["Plan", "CKernels", "COpenBLAS", "CShims"], hot),
        room("Checkpoint", ["Tensors", "Plan"], hot),
        room("Text", ["Checkpoint", "Tensors", "Plan"], hot),
        room("DiT", ["Checkpoint", "Tensors", "Plan"], hot),
        room("VAE", ["Checkpoint", "Tensors", "Plan"], hot),
        room("Sampling", ["Tensors", "Plan"], hot),
        room("Imaging", ["CPNG", "CShims", "Tensors", "Plan"], hot),
        room("Stages", ["Text", "DiT", "VAE", "Checkpoint", "Tensors", "Plan"], hot),
        room("Rendering", ["Stages", "Sampling", "Imaging", "Checkpoint", "Tensors", "Plan"], hot),
        room("Bench", ["DiT", "VAE", "Checkpoint", "Tensors", "CKernels", "Plan"], hot),

        // The cluster.
        room("Wire", ["Tensors", "Plan", "CZeroMQ", "CShims", "CKernels", log], hot),
        room("JobStore", ["Plan", .product(name: "GRDB", package: "GRDB.swift")]),
        room("Telemetry", ["Plan", log, metrics]),
        room("Settings", ["Plan", "Sampling", "Yams"]),
        room(
            "Coordinator",
            ["Wire", "JobStore", "Sampling", "Imaging", "Tensors", "CKernels", "Plan", log, metrics],
            hot),
        room("Worker", ["Wire", "Stages", "DiT", "Checkpoint", "Tensors", "Plan", log]),
        room(
            "Gateway",
            ["Coordinator", "Telemetry", "Plan", .product(name: "FlyingFox", package: "FlyingFox"), log]),
        .executableTarget(
            name: "abbozzo",
            dependencies: [
                "Bench", "Gateway", "Coordinator", "Worker", "Rendering", "Settings", "Telemetry", "Wire", "Sampling",
                "Imaging", "Stages", "Checkpoint", "Tensors", "CKernels", "Plan", log,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),

        // Tests.
        .target(
            name: "TestKit",
            dependencies: ["Tensors", "Checkpoint", .product(name: "Subprocess", package: "swift-subprocess")],
            path: "Tests/TestKit", swiftSettings: hot),
        tests("Tensors", ["Tensors", "Plan", "CKernels", "COpenBLAS"]),
        tests("Checkpoint", ["Checkpoint", "Tensors"]),
        tests("Text", ["Text", "Checkpoint", "Tensors"]),
        tests("DiT", ["DiT", "Checkpoint", "Tensors", "Plan"]),
        tests("VAE", ["VAE", "Checkpoint", "Tensors"]),
        tests("Sampling", ["Sampling", "Checkpoint", "Tensors", "Plan"]),
        tests("Stages", ["Stages", "DiT", "VAE", "Sampling", "Checkpoint", "Tensors", "Plan"]),
        tests("Imaging", ["Imaging", "Tensors", "Plan"]),
        tests("Rendering", ["Rendering", "Stages", "Sampling", "Imaging", "Checkpoint", "Tensors", "Plan"]),
        tests("Plan", ["Plan"]),
        tests("Wire", ["Wire", "Plan", "CKernels", "CZeroMQ"]),
        tests("JobStore", ["JobStore", "Plan", .product(name: "GRDB", package: "GRDB.swift")]),
        tests("Telemetry", ["Telemetry", "Plan", log, metrics]),
        tests("Settings", ["Settings", "Sampling", "Plan"]),
        tests(
            "Coordinator",
            [
                "Coordinator", "Worker", "Stages", "DiT", "JobStore", "Wire", "Telemetry", "Sampling", "Imaging",
                "Tensors",
                "Plan", log, metrics,
            ]),
        tests("Worker", ["Worker", "Wire", "Stages", "DiT", "Checkpoint", "Tensors", "Plan", log]),
        tests("Gateway", ["Gateway", "Telemetry", "Plan", .product(name: "FlyingSocks", package: "FlyingFox")]),
        tests(
            "Cluster",
            [
                "abbozzo", "Wire", "Plan", "Imaging", "Checkpoint", "Tensors",
                .product(name: "Subprocess", package: "swift-subprocess"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)
