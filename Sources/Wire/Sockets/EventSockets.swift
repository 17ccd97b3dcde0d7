internal import CZeroMQ
internal import Glibc
internal import Plan

/// Publishes events to whoever subscribed; a subscriber that reads too slowly misses some.
package final class PublisherSocket: Socket {
    /// Topics that somebody listens to, and the connection that was the first; each comes once, and goes once when the last
    /// listener leaves.
    private var topics: [[UInt8]: Int32] = [:]
    /// How many topics are listened to.
    package var subscriptions: Int { topics.count }

    /// How many topics each connection was the first to ask for.
    private var asked: [Int32: Int] = [:]
    /// Of these at most.
    private static let mostAsked = 256

    /// Topics that are kept, and their bytes, at most: what no event has is not worth memory.
    private static let (mostTopics, topicBytes) = (4096, 128)

    /// Bytes of a frame that is taken in: libzmq keeps a topic before anybody is asked, in some 34 bytes for each of its own
    /// (measured with 4.3.4: 35 MB for 1 MB).
    private static let largestFrame: Int64 = 4096

    /// Makes a socket that belongs to the loop; call on its thread.
    package init(_ loop: PollLoop, _ options: SocketOptions) throws(WireError) {
        try super.init(loop, options, type: ZMQ_XPUB)
        do throws(WireError) { try set(ZMQ_MAXMSGSIZE, wide: Self.largestFrame) } catch {
            close()
            throw error
        }
    }

    /// Listens; returns the endpoint with the port that the system chose.
    package func listen(on endpoint: Endpoint) throws(WireError) -> Endpoint { try bind(endpoint) }

    /// Publishes a body of at most one chunk under a topic.
    package func publish(_ topic: String, _ body: [UInt8]) throws(WireError) {
        promise(body.count <= Chunker.chunkBytes, "an event of \(body.count) bytes")
        try send(Message(.event, body: body), peer: topic)
    }

    override var hasLinks: Bool { false }

    override func connectionChanged(_ event: Int32, connection: Int32) {
        if event == ZMQ_EVENT_ACCEPTED || event == ZMQ_EVENT_DISCONNECTED { asked[connection] = nil }
    }

    /// Subscriptions arrive as messages of one frame: 1 or 0, then the topic.
    override func sender(
        _ frames: inout ArraySlice<UnsafeRawBufferPointer>, connection: Int32, session: Gate.Session?
    ) -> String? {
        guard let frame = frames.first, let first = frame.first else { return nil }
        let topic = Array(frame.dropFirst())
        switch first {
        // No event has such a topic, and libzmq keeps it for as long as the connection stands.
        case 1 where topic.count > Self.topicBytes || asked[connection, default: 0] >= Self.mostAsked: cut(connection)
        case 1:
            asked[connection, default: 0] += 1
            if topics.count < Self.mostTopics { topics[topic] = connection }
        case 0:
            if let owner = topics.removeValue(forKey: topic), let count = asked[owner] { asked[owner] = count - 1 }
        default: break
        }
        return nil
    }

    /// libzmq itself says that the last listener of a topic is gone, in nobody's name.
    override func isOwnWord(_ frame: UnsafeRawBufferPointer) -> Bool { frame.first == 0 }

    override func sendAddress(_ topic: String) throws(WireError) -> Bool {
        let bytes = Array(topic.utf8)
        while zmq_send(handle, bytes, bytes.count, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0 {
            if zmq_errno() != EINTR { throw .last("zmq_send") }
        }
        return true
    }
}

/// Receives events of the topics that it subscribed to; `onMessage` is given the topic as the sender.
package final class SubscriberSocket: Socket {
    /// Makes a socket that belongs to the loop and starts to connect; call on the loop's thread.
    package init(_ loop: PollLoop, _ options: SocketOptions, to endpoint: Endpoint, topics: [String]) throws(WireError)
    {
        try super.init(loop, options, type: ZMQ_SUB)
        do throws(WireError) {
            for topic in topics { try set(ZMQ_SUBSCRIBE, text: topic) }
            try connect(to: endpoint)
        } catch {
            close()
            throw error
        }
    }

    /// Topics come and go: nothing is kept for one.
    override var hasLinks: Bool { false }

    override func sender(
        _ frames: inout ArraySlice<UnsafeRawBufferPointer>, connection: Int32, session: Gate.Session?
    ) -> String? {
        guard let topic = frames.popFirst(), let name = String(validating: topic, as: UTF8.self) else {
            onEvent?(.refused(FrameError(.peerName, peer: options.peerName)))
            return nil
        }
        return name
    }
}
