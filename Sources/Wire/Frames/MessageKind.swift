internal import Plan

/// What a message is about; the byte at offset 6 of the header.
package enum MessageKind: UInt8, Sendable, CaseIterable {
    /// A `ControlMessage` as JSON.
    case control = 1
    /// A `ClientRequest` as JSON.
    case clientRequest = 2
    /// A `ClientReply` as JSON, under the number of the request.
    case clientReply = 3
    /// A published event as JSON.
    case event = 4
    /// Coordinator to encoder: `prompt`; the header's `argument` is the text length in tokens.
    case encode = 16
    /// Encoder to coordinator: `context`, `pooled`.
    case conditioning = 17
    /// Coordinator to the first span: `tokens`, `positions`, `scalars`; `context` and `pooled` where not known yet.
    case step = 18
    /// Span to the next span: `text`, `image`, `vector`, `positions`.
    case activation = 19
    /// Last span to coordinator: `velocity`.
    case velocity = 20
    /// Coordinator to decoder: `latent`; the header's `argument` is 0 for the final picture, 1 for an edge map.
    case decode = 21
    /// Decoder to coordinator: `planes` (f32) for an edge map, `rgb` (u8, interleaved) for the final picture.
    case pixels = 22
    /// Receiver to sender, the limit of its `CreditLine`: the header's `argument` in messages, eight bytes in bytes.
    case credit = 23
    /// Worker to the next one, while a plan that asks for it is being loaded: bytes that mean nothing, to measure the
    /// link; the header's `argument` is its number.
    case probe = 24
    /// Its answer, without bytes, under the same number.
    case echo = 25

    /// Whether tensors travel in it; the others carry JSON, nothing, or bytes without a meaning.
    package var carriesTensors: Bool { Self.encode.rawValue...Self.pixels.rawValue ~= rawValue }

    /// Whether the caller numbers it, so that numbers may come in any order; the rest is numbered by the socket.
    package var isNumberedByCaller: Bool { self == .clientRequest || self == .clientReply }

    /// What task it belongs to, as a question or as an answer.
    var task: TaskID.Kind? {
        switch self {
        case .encode, .conditioning: .encode
        case .step, .activation, .velocity: .step
        case .decode, .pixels: .decode
        case .control, .clientRequest, .clientReply, .event, .credit, .probe, .echo: nil
        }
    }
}
