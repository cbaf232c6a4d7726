//! Damage in the database of a real guest's checkpoints is found when one is loaded, and an older one is loaded instead.

use quorate::checkpoint::load::{self, LoadError};
use quorate::log::{Index, Missing, check, migrate, open};
use rusqlite::Connection;

use crate::common::guest::{self, Run};
use crate::suite::PATIENCE;

/// What is done to the database, what is said about it, and whether that can be seen without the guest.
const DAMAGES: [(&str, &str, bool); 7] = [
    // Other bytes that are zstd: those of another block.
    (
        "UPDATE content SET data = (SELECT c.data FROM content c WHERE c.hash <> content.hash LIMIT 1) WHERE hash = ?1",
        "do not have its hash",
        true,
    ),
    (
        "UPDATE content SET data = CAST(x'00' || data AS BLOB) WHERE hash = ?1",
        "block",
        true,
    ),
    ("DELETE FROM content WHERE hash = ?1", "contents are missing", true),
    // Contents of another block: each block is right, the machine is not.
    (
        "UPDATE block SET hash = (SELECT b.hash FROM block b WHERE b.hash NOT IN (?1, zeroblob(32)) LIMIT 1) WHERE hash = ?1",
        "its digest is",
        false,
    ),
    ("DELETE FROM block WHERE hash = ?1", "its digest is", false),
    (
        "UPDATE checkpoint SET description = CAST(x'00' || description AS BLOB) WHERE pos = (SELECT max(pos) FROM block WHERE hash = ?1)",
        "description",
        true,
    ),
    (
        "UPDATE checkpoint SET digest = zeroblob(32) WHERE pos = (SELECT max(pos) FROM block WHERE hash = ?1)",
        "its digest is",
        false,
    ),
];

/// A database with two checkpoints of one guest; their digests.
struct Sound {
    folder: tempfile::TempDir,
    definition: machine::Definition,
    first: (Index, [u8; 32]),
    second: (Index, [u8; 32]),
}

impl Sound {
    async fn make() -> Option<Sound> {
        let definition = guest::definition()?;
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("sound").display());
        migrate(&url, PATIENCE).await.unwrap();
        let log = open(&url, "m", PATIENCE, Missing::Create).await.unwrap();
        let mut run = Run::begin(log, &definition).await;
        run.entries(60).await;
        let first = run.checkpoint().await;
        run.type_in("uptime").await;
        run.entries(20).await;
        let second = run.checkpoint().await;
        run.entries(5).await;
        Some(Sound {
            folder,
            definition,
            first,
            second,
        })
    }

    /// A copy of it, and how to open that.
    fn copy(&self, name: &str) -> (Connection, String) {
        let path = self.folder.path().join(name);
        let sound = Connection::open(self.folder.path().join("sound")).unwrap();
        sound.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        (Connection::open(&path).unwrap(), format!("sqlite:{}", path.display()))
    }
}

/// Contents that only the second checkpoint has.
fn only_second(database: &Connection, second: Index) -> Vec<u8> {
    let query = "SELECT hash FROM block WHERE pos = ?1 AND hash <> zeroblob(32)
        AND hash NOT IN (SELECT hash FROM block WHERE pos < ?1) LIMIT 1";
    database.query_row(query, [second.0 as i64], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn it_is_found_and_an_older_one_is_loaded() {
    let Some(sound) = Sound::make().await else { return };
    let network = guest::network();
    for (number, (damage, says, seen)) in DAMAGES.into_iter().enumerate() {
        let (database, url) = sound.copy(&format!("damaged-{number}"));
        let hash = only_second(&database, sound.second.0);
        assert!(database.execute(damage, [&hash]).unwrap() > 0, "{damage}");
        let log = open(&url, "m", PATIENCE, Missing::Refuse).await.unwrap();
        let error = load::at(&log, &sound.definition, &network, sound.second.0).await.err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            text.contains(says) && text.contains("checkpoint at entry"),
            "{damage}: {text}"
        );
        let loaded = load::newest(&log, &sound.definition, &network, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (loaded.start.end.index, loaded.guest.digest().digest),
            sound.first,
            "{damage}"
        );

        let report = check(&url, "m", PATIENCE, |_| {}).await.unwrap();
        let found = report.damage.map(|damage| damage.index);
        assert_eq!(found, seen.then_some(sound.second.0), "{damage}");
        assert_eq!(report.checkpoints, if seen { 1 } else { 2 });
    }
}

#[tokio::test]
async fn what_is_sound_is_loaded_and_what_is_all_damaged_is_not_passed_over() {
    let Some(sound) = Sound::make().await else { return };
    let network = guest::network();
    let (database, url) = sound.copy("copy");
    let log = open(&url, "m", PATIENCE, Missing::Refuse).await.unwrap();
    for (until, (index, digest)) in [(None, sound.second), (Some(sound.first.0), sound.first)] {
        let loaded = load::newest(&log, &sound.definition, &network, until)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((loaded.start.end.index, loaded.guest.digest().digest), (index, digest));
    }
    let before = Some(Index(sound.first.0.0 - 1));
    assert!(
        load::newest(&log, &sound.definition, &network, before)
            .await
            .unwrap()
            .is_none()
    );

    database
        .execute("DELETE FROM log WHERE pos = ?1", [sound.second.0.0 as i64])
        .unwrap();
    let error = load::at(&log, &sound.definition, &network, sound.second.0).await.err();
    assert!(matches!(error, Some(LoadError::Damaged { what, .. }) if what.contains("entry any more")));
    database.execute("DELETE FROM content", []).unwrap();
    let error = load::newest(&log, &sound.definition, &network, None).await.err();
    assert!(
        matches!(error, Some(LoadError::Damaged { index, .. }) if index == sound.second.0),
        "a node must not begin anew: {error:?}"
    );
}
