internal import CKernels
internal import Foundation
internal import Plan

/// Version of the program with a checksum of its file, `0.1.0-1a2b3c4d`: the same on two machines only where both run the same
/// file; the version alone where the file cannot be read.
func programBuild() -> String {
    guard let file = try? Data(contentsOf: URL(filePath: "/proc/self/exe"), options: .alwaysMapped) else {
        return programVersion
    }
    let checksum = file.withUnsafeBytes { abz_crc32c(0, $0.baseAddress, $0.count) }
    return programVersion + "-" + String(format: "%08x", checksum)
}
