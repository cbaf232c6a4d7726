//! The store in PostgreSQL, and connections that break at the worst moment.

use std::time::{Duration, Instant};

use quorate::log::{
    Appended, Index, Lease, Log, LogError, Migrated, Missing, NodeId, SCHEMA_VERSION, Term, migrate, open,
};

use crate::common::postgres::{Options, Postgres, signal};
use crate::proxy::{Fault, Proxy};
use crate::suite::{self, LEASE, PATIENCE, Place, names, row};

async fn started() -> Option<Postgres> {
    let postgres = Postgres::start_or_skip(Options::default())?;
    assert_eq!(
        migrate(&postgres.url(), PATIENCE).await,
        Ok(Migrated {
            from: 0,
            to: SCHEMA_VERSION
        })
    );
    Some(postgres)
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(postgres) = started().await else { return };
    suite::run(&Place::new(&postgres.url())).await;
}

/// For operators: the same on their own database.
#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_the_database_given() {
    let Ok(url) = std::env::var("QUORATE_TEST_DATABASE_URL") else {
        eprintln!("skipped: QUORATE_TEST_DATABASE_URL is not set");
        return;
    };
    migrate(&url, PATIENCE).await.unwrap();
    suite::run(&Place::new(&url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_in_doubt_are_resolved() {
    let Some(postgres) = started().await else { return };
    let proxy = Proxy::start(postgres.socket()).await;
    let place = Place::new(&format!("postgresql://postgres@127.0.0.1:{}/postgres", proxy.port));
    let log = place.begun("doubt").await;
    let mut expected = vec![(1, 1, 1)];
    for (at, fault) in [Fault::Before, Fault::After, Fault::After, Fault::Before]
        .into_iter()
        .enumerate()
    {
        let index = 2 + at as u64;
        let row = row(index, 1, 0xfeed_0000 + u128::from(index));
        proxy.arm(fault, &row.id.to_be_bytes());
        expected.push((index, 1, row.id));
        assert_eq!(log.append(row).await, Ok(Appended::Committed), "{fault:?}");
        assert_eq!(proxy.struck(), at + 1, "the fault did not strike: nothing was tested");
    }
    assert_eq!(names(&log.tail(Index(1), 99).await.unwrap()), expected);

    // In doubt, and somebody else was faster: the answer is his.
    let other = Place::open(&place, "doubt").await;
    let lost = row(6, 1, 0xdead_0000);
    proxy.arm(Fault::Before, &lost.id.to_be_bytes());
    let faster = row(6, 1, 0xbeef_0000);
    assert_eq!(other.append(faster).await, Ok(Appended::Committed));
    assert_eq!(log.append(lost).await, Ok(Appended::Taken));

    // A barrier, the lease.
    let barrier = row(7, 2, 0xfeed_0007);
    proxy.arm(Fault::After, &barrier.id.to_be_bytes());
    assert_eq!(log.barrier(barrier).await, Ok(Appended::Committed));
    let incarnation = 0x0123_4567_89ab_cdef;
    proxy.arm(Fault::After, &u64::to_be_bytes(incarnation));
    assert_eq!(
        log.take(Lease::default(), NodeId(1), incarnation, LEASE).await,
        Ok(Some(Term(1)))
    );
    assert_eq!(proxy.struck(), 7);
}

/// The connection stays and says nothing: the statement is given up, on another connection it is found carried out.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_not_waited_for_for_ever() {
    let Some(postgres) = started().await else { return };
    let proxy = Proxy::start(postgres.socket()).await;
    let log = Place::new(&format!("postgresql://postgres@127.0.0.1:{}/postgres", proxy.port))
        .begun("silence")
        .await;
    let row = row(2, 1, 0xfeed_0002);
    proxy.arm(Fault::Silence, &row.id.to_be_bytes());
    let before = Instant::now();
    let append = log.append(row);
    let read = async {
        let tail = log.tail(Index(0), 9).await.unwrap();
        (tail.len(), before.elapsed())
    };
    let (appended, (_, read_after)) = tokio::join!(append, read);
    assert_eq!(appended, Ok(Appended::Committed));
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert!(
        read_after < Duration::from_secs(2),
        "a stuck append held up reading for {read_after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_is_tried() {
    let Some(mut postgres) = started().await else { return };
    let first = Proxy::start(postgres.socket()).await;
    let second = Proxy::start(postgres.socket()).await;
    let url = format!(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres",
        first.port, second.port
    );
    first.mute(true); // accepts and says nothing
    let before = Instant::now();
    let log = Place::new(&url).begun("hosts").await;
    assert!(
        before.elapsed() < Duration::from_secs(5),
        "every connection waited for the first host by itself: {:?}",
        before.elapsed()
    );
    second.close(true);
    first.mute(false);
    let break_it = row(2, 1, 0xfeed_0002);
    second.arm(Fault::After, &break_it.id.to_be_bytes());
    assert_eq!(
        log.append(break_it).await,
        Ok(Appended::Committed),
        "through the first again"
    );

    // The database goes and comes back in the middle of a call.
    postgres.stop();
    let before = Instant::now();
    let short = open(&url, "hosts", Duration::from_secs(1), Missing::Create).await;
    assert!(matches!(short, Err(LogError::Unavailable(_))), "{short:?}");
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "patience was 1 s, it took {:?}",
        before.elapsed()
    );
    let append = tokio::spawn(async move { (log.append(row(3, 1, 3)).await, log) });
    tokio::task::block_in_place(|| postgres.start());
    let (appended, log) = append.await.unwrap();
    assert_eq!(appended, Ok(Appended::Committed));
    assert_eq!(log.head().await.unwrap().index, Index(3));
}

/// A stopped server accepts connections (the kernel does) and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn patience_ends_with_a_stopped_server() {
    let Some(postgres) = started().await else { return };
    signal("-STOP", postgres.pid());
    let before = Instant::now();
    let opened = open(&postgres.url(), "m", Duration::from_secs(1), Missing::Create).await;
    signal("-CONT", postgres.pid());
    assert!(matches!(opened, Err(LogError::Unavailable(_))), "{opened:?}");
    assert!(before.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_must_do_is_said() {
    let Some(postgres) = Postgres::start_or_skip(Options::default()) else {
        return;
    };
    let url = postgres.url();
    let opened = async |url: &str| open(url, "m", PATIENCE, Missing::Refuse).await.unwrap_err();
    let says = |error: LogError, kind: fn(String) -> LogError, what: &str| {
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
        assert_eq!(
            std::mem::discriminant(&error),
            std::mem::discriminant(&kind(String::new())),
            "{text}"
        );
    };
    says(opened(&url).await, LogError::Schema, "quorate db migrate");
    let migrations = futures_util::future::join_all((0..4).map(|_| migrate(&url, PATIENCE))).await;
    for done in migrations {
        assert_eq!(done.unwrap().to, SCHEMA_VERSION, "several at once");
    }
    says(opened(&url).await, LogError::Schema, "no machine \"m\"");
    says(
        opened(&url.replace("/postgres?", "/nowhere?")).await,
        LogError::Refused,
        "Create the database",
    );
    says(
        opened(&url.replace("user=postgres", "user=nobody")).await,
        LogError::Refused,
        "user",
    );
    says(
        opened(&format!("{url}&sslmode=require")).await,
        LogError::Refused,
        "TLS",
    );
    postgres.psql("CREATE ROLE weak LOGIN").unwrap();
    says(
        opened(&url.replace("user=postgres", "user=weak")).await,
        LogError::Refused,
        "GRANT",
    );
    postgres
        .psql("INSERT INTO quorate_schema (version) VALUES (99)")
        .unwrap();
    says(opened(&url).await, LogError::Schema, "version 99");
}

/// The database's own settings must not take durability or the isolation level away. A trigger writes down what they are
/// when a row is appended.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_database_do_not_weaken_the_log() {
    let Some(postgres) = started().await else { return };
    for statement in [
        "ALTER DATABASE postgres SET synchronous_commit = off",
        "ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'",
        "CREATE TABLE seen (durable TEXT, isolation TEXT)",
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
            RETURN NEW; END $$",
        "CREATE TRIGGER see BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION see()",
    ] {
        postgres.psql(statement).unwrap();
    }
    Place::new(&postgres.url()).begun("settings").await;
    assert_eq!(
        postgres.psql("SELECT DISTINCT * FROM seen").as_deref(),
        Ok("on|read committed")
    );
}
