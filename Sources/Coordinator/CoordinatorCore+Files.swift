internal import Logging
internal import Plan

/// The files of pictures, and places that take none.
///
/// A place is a job's folder, or, for jobs of a time when the output folder was another one, the folder above theirs. What a
/// place refuses is tried again, and no picture that would go there begins meanwhile; those of other places do, unless it is
/// the output folder itself that takes nothing.
extension CoordinatorCore {
    mutating func writeFile(_ image: ImageID) {
        guard let flight = flights[image], let pin, let path = path(of: image) else { return }
        let ticket = ticket(.file(image, path: path))
        enter(.writing(ticket: ticket), image)
        effects.append(
            .write(
                Picture(
                    image: image, rgb8: flight.picture, request: flight.request, pin: pin, wire: wire, path: path),
                ticket: ticket))
    }

    /// Where the file of a picture goes.
    func path(of image: ImageID) -> String? {
        guard let job = jobs[image.job] else { return nil }
        let request = job.requests[Int(image.index)]
        return job.status.folder + "/" + OutputNames.file(index: image.index, request: request)
    }

    mutating func wrote(_ result: Result<UInt32, WriteFailure>, _ ticket: UInt64) {
        guard case .file(let image, let path) = awaited.removeValue(forKey: ticket) else { return }
        guard let flight = flights[image], flight.phase == .writing(ticket: ticket) else {
            // Cancelled meanwhile. A later life of the picture may be about to have a file of the same name.
            let isStillCancelled = jobs[image.job].map { $0.status.images[Int(image.index)] == .cancelled } ?? true
            if flights[image] == nil && isStillCancelled {
                effects.append(.remove(path: path))
            } else {
                jobs[image.job]?.leftovers.insert(image.index)
            }
            return
        }
        switch result {
        case .success(let checksum):
            takesFiles(image)
            flights[image]?.picture = []
            jobs[image.job]?.leftovers.remove(image.index)
            end(image, .done(path: path, checksum: checksum))
        case .failure(let failure):
            flights[image]?.writes += 1
            log(.error, "picture \(image): \(failure.text)")
            guard failure.reach == .picture else {
                // Hours of work may be in it, and in those that would be drawn and not be kept either.
                let isNews = !flights.values.contains {
                    $0.placeTrouble?.reach == failure.reach && $0.image.job == image.job
                }
                flights[image]?.placeTrouble = failure
                if isNews { changedAll() }
                return tryAgain(image)
            }
            flights[image]?.placeTrouble = nil
            if flight.writes + 1 >= settings.tries { return fail(image, failure.text) }
            tryAgain(image)
        }
    }

    /// A second after the first refusal, then after twice as long each time, up to a minute.
    private mutating func tryAgain(_ image: ImageID) {
        let wait = min(60, 1 << UInt64(min(flights[image]?.writes ?? 1, 7) - 1) as UInt64)
        rewrites.append((image, now + wait * 1_000_000_000))
    }

    mutating func tryFilesAgain() {
        let due = rewrites.filter { $0.due <= now }.map(\.image)
        rewrites.removeAll { $0.due <= now }
        for image in due { if case .writing = flights[image]?.phase { writeFile(image) } }
    }

    // MARK: Places

    /// Where the pictures of a job's folder go, as far as one trouble of a folder reaches.
    func place(of folder: String) -> String {
        guard !isBelowOutput(folder), let slash = folder.lastIndex(of: "/") else { return folder }
        return String(folder[..<slash])
    }

    private func isBelowOutput(_ folder: String) -> Bool { folder.hasPrefix(settings.outputFolder + "/") }

    /// Why no picture can be kept now; none begins meanwhile.
    ///
    /// Of folders that take no files each holds the pictures that were in flight: where there are several, and too many of
    /// these, it is something that is wrong with all.
    var outputTrouble: String? {
        let troubled = flights.values.filter { $0.placeTrouble != nil }
        let whole = troubled.filter { $0.placeTrouble?.reach == .output }
        let places = Set(troubled.compactMap { jobs[$0.image.job]?.place })
        let isTooMany = flightLimit > 0 && places.count > 2 && troubled.count > 2 * (flightLimit + spareFlights)
        return (isTooMany ? troubled : whole).min { $0.image < $1.image }?.placeTrouble?.text
    }

    /// Places that take no files now, and why.
    var troubledPlaces: [String: String] {
        var places: [String: String] = [:]
        for flight in flights.values {
            guard let trouble = flight.placeTrouble, let job = jobs[flight.image.job] else { continue }
            places[job.place] = trouble.text
        }
        return places
    }

    /// A file could be written: all that wait for its place are tried.
    private mutating func takesFiles(_ image: ImageID) {
        guard flights.values.contains(where: { $0.placeTrouble != nil }), let job = jobs[image.job] else { return }
        let (place, isBelow) = (job.place, isBelowOutput(job.status.folder))
        let freed = flights.filter { other, flight in
            guard let trouble = flight.placeTrouble else { return false }
            return trouble.reach == .output ? isBelow : jobs[other.job]?.place == place
        }
        guard !freed.isEmpty else { return }
        for other in freed.keys { flights[other]?.placeTrouble = nil }
        for index in rewrites.indices where freed.keys.contains(rewrites[index].image) { rewrites[index].due = now }
        log(.info, "pictures can be written to \(place) again")
        changedAll()
    }
}
