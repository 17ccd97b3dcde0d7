internal import Checkpoint
internal import Imaging
package import Sampling

extension Trace {
    /// Writes everything that was recorded as one safetensors file, complete or not at all.
    package func write(to path: String) throws {
        var writer = SafetensorsWriter()
        for name in names {
            switch self[name] {
            case .floats(let tensor): writer.add(name, tensor)
            case .bytes(let bytes, let shape): writer.add(name, bytes: bytes, shape: shape)
            case .integers(let integers, let shape): writer.add(name, integers: integers.map(Int.init), shape: shape)
            case nil: break
            }
        }
        try writeAtomically(writer.bytes(), to: path)
    }
}
