internal import GRDB

/// The tables, one migration for each version that shipped; a migration that shipped never changes.
enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1 jobs, images, checkpoints") { database in
            try database.execute(
                sql: """
                    CREATE TABLE job (
                        number INTEGER PRIMARY KEY,          -- order of submission
                        id TEXT NOT NULL UNIQUE,
                        key TEXT UNIQUE,                     -- the client's idempotency key
                        folder TEXT NOT NULL UNIQUE,         -- absolute; two jobs never share one
                        priority INTEGER NOT NULL,
                        submitted REAL NOT NULL,
                        finished REAL,
                        version INTEGER NOT NULL,
                        total INTEGER NOT NULL,
                        done INTEGER NOT NULL DEFAULT 0,
                        failed INTEGER NOT NULL DEFAULT 0,
                        cancelled INTEGER NOT NULL DEFAULT 0,
                        tokens INTEGER NOT NULL DEFAULT 0
                    );
                    -- Jobs with work left are few, jobs in all are many.
                    CREATE INDEX job_unfinished ON job (priority DESC, number) WHERE finished IS NULL;

                    CREATE TABLE image (
                        job INTEGER NOT NULL REFERENCES job (number),
                        "index" INTEGER NOT NULL,
                        request TEXT NOT NULL,               -- ImageRequest as JSON
                        state INTEGER NOT NULL,              -- StateCode
                        checksum INTEGER,                    -- CRC32C of the PNG
                        path TEXT,                           -- absolute path of the PNG
                        failure TEXT,
                        PRIMARY KEY (job, "index")
                    ) WITHOUT ROWID;

                    CREATE TABLE checkpoint (
                        job INTEGER NOT NULL,
                        "index" INTEGER NOT NULL,
                        step INTEGER NOT NULL,
                        sampler BLOB NOT NULL,
                        PRIMARY KEY (job, "index"),
                        FOREIGN KEY (job, "index") REFERENCES image (job, "index")
                    );

                    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("2 interactive jobs") { database in
            try database.execute(
                sql: """
                    ALTER TABLE job ADD COLUMN interactive INTEGER NOT NULL DEFAULT 0;
                    DROP INDEX job_unfinished;
                    CREATE INDEX job_unfinished ON job (interactive DESC, priority DESC, number)
                        WHERE finished IS NULL;
                    """)
        }
        migrator.registerMigration("3 removed jobs") { database in
            try database.execute(
                sql: """
                    CREATE INDEX job_finished ON job (finished, number) WHERE finished IS NOT NULL;
                    -- Folders of removed jobs: their pictures are still there.
                    CREATE TABLE former_folder (folder TEXT PRIMARY KEY) WITHOUT ROWID;
                    """)
        }
        migrator.registerMigration("4 models of jobs") { database in
            // The fingerprint of what drew the first picture that is done.
            try database.execute(sql: "ALTER TABLE job ADD COLUMN model TEXT")
        }
        return migrator
    }
}

/// States as they are stored; a running image is stored as queued, with its checkpoint beside it.
enum StateCode: Int {
    case queued = 0
    case done = 1
    case failed = 2
    case cancelled = 3
}
