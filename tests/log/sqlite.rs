//! The store in an SQLite file.

use std::time::Duration;

use quorate::log::{
    Appended, Entry, Index, Log, LogError, Migrated, Missing, SCHEMA_VERSION, Term, check, migrate, open,
};

use crate::suite::{self, PATIENCE, Place, row};

async fn fresh() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("log.sqlite").display());
    assert_eq!(
        migrate(&url, PATIENCE).await,
        Ok(Migrated {
            from: 0,
            to: SCHEMA_VERSION
        })
    );
    (folder, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let (_folder, url) = fresh().await;
    suite::run(&Place::new(&url)).await;
}

#[tokio::test]
async fn a_wrong_file_is_explained() {
    let (folder, url) = fresh().await;
    assert_eq!(
        migrate(&url, PATIENCE).await,
        Ok(Migrated {
            from: SCHEMA_VERSION,
            to: SCHEMA_VERSION
        }),
        "again"
    );
    let opened = async |url: &str| open(url, "m", PATIENCE, Missing::Refuse).await.unwrap_err();

    let absent = format!("sqlite:{}", folder.path().join("absent").display());
    assert!(matches!(opened(&absent).await, LogError::Schema(text) if text.contains("quorate db migrate")));
    assert!(!folder.path().join("absent").exists(), "opening creates nothing");

    assert!(matches!(opened(&url).await, LogError::Schema(text) if text.contains("no machine")));
    drop(open(&url, "other", PATIENCE, Missing::Create).await.unwrap());
    assert!(matches!(opened(&url).await, LogError::Schema(text) if text.contains("other")));

    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "This is no database, and long enough to be looked at as one. ".repeat(20),
    )
    .unwrap();
    assert!(matches!(
        opened(&format!("sqlite:{}", text.display())).await,
        LogError::Refused(_)
    ));
    assert!(matches!(opened("mysql://host/db").await, LogError::Refused(text) if text.contains("sqlite:PATH")));

    let database = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
    database
        .execute("INSERT INTO quorate_schema (version) VALUES (99)", [])
        .unwrap();
    assert!(matches!(opened(&url).await, LogError::Schema(text) if text.contains("version 99")));
    database.execute_batch("DELETE FROM quorate_schema").unwrap();
    assert!(matches!(opened(&url).await, LogError::Schema(text) if text.contains("quorate db migrate")));
}

/// Another process keeps the file's write lock: appends wait, reads do not, and patience ends.
#[tokio::test]
async fn a_busy_file_is_waited_for() {
    let (_folder, url) = fresh().await;
    let short = Duration::from_millis(700);
    let log = open(&url, "short", short, Missing::Create).await.unwrap();
    log.genesis(suite::genesis().to_row()).await.unwrap();

    let other = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(log.barrier(row(1, 1, 1)).await, Err(LogError::Unavailable(_))));
    assert_eq!(log.tail(Index(0), 9).await.unwrap().len(), 1, "readers go on");
    let append = log.barrier(row(1, 1, 1));
    let release = async {
        tokio::time::sleep(short / 4).await;
        other.execute_batch("COMMIT").unwrap();
    };
    assert_eq!(tokio::join!(append, release).0, Ok(Appended::Committed), "waited");
}

#[tokio::test]
async fn damage_on_disk_is_found() {
    let (_folder, url) = fresh().await;
    let place = Place::new(&url);
    let log = place.open("m").await;
    let genesis = suite::genesis();
    log.genesis(genesis.to_row()).await.unwrap();
    let grant = genesis.grant;
    let first = Entry::after(&genesis, Term(1), 1, vec![], grant);
    assert_eq!(log.barrier(first.to_row()).await, Ok(Appended::Committed));
    let checked = async || check(&url, &place.name("m"), PATIENCE, |_| {}).await.unwrap();
    let report = checked().await;
    assert_eq!((report.entries, report.chain, report.damage), (2, first.chain, None));

    let database = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
    database.execute("UPDATE log SET term = 2 WHERE pos = 1", []).unwrap();
    assert_eq!(checked().await.damage.map(|damage| damage.index), Some(Index(1)));
    database.execute("UPDATE log SET term = -1 WHERE pos = 1", []).unwrap();
    assert_eq!(
        checked().await.damage.map(|damage| damage.what),
        Some("term is -1".to_owned())
    );
    assert!(matches!(
        log.head().await,
        Err(LogError::Damaged { index: Index(1), .. })
    ));
}

/// The view is the same on PostgreSQL, where the end-to-end tests read it.
#[tokio::test]
async fn people_read_the_cluster_in_a_view() {
    let (_folder, url) = fresh().await;
    let place = Place::new(&url);
    crate::heartbeats::are_counted_and_read_by_all(&place).await;
    let database = rusqlite::Connection::open(url.strip_prefix("sqlite:").unwrap()).unwrap();
    let row = database
        .query_row(
            "SELECT node, applied, entries_behind, digest, evicted, age_s FROM cluster_status WHERE voted = 5",
            [],
            |row| {
                let texts: (String, String, String) = (row.get(0)?, row.get(3)?, row.get(4)?);
                let numbers: (i64, i64, f64) = (row.get(1)?, row.get(2)?, row.get(5)?);
                Ok((texts, numbers))
            },
        )
        .unwrap();
    let ((node, digest, evicted), (applied, behind, age_s)) = row;
    assert_eq!((node.as_str(), evicted.as_str()), ("node1", "node2 node3"));
    assert_eq!((digest, applied, behind), ("09".repeat(32), 7, 0));
    assert!((-1.0..60.0).contains(&age_s), "{age_s}");
}
