@main struct Abbozzo { static func main() {} }
