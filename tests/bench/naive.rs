//! The reference to beat: every register access of the guest is one SELECT and one UPDATE, each agreed by the database.

use std::time::{Duration, Instant};

use crate::common::postgres::{Options, Postgres};
use crate::{Bound, Figures};

/// Long enough for some thousand accesses.
const TIME: Duration = Duration::from_secs(3);

pub fn measure(figures: &mut Figures) {
    let postgres = Postgres::start_or_skip(Options::default()).expect("the benchmarks need PostgreSQL");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let per_s = runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&postgres.url(), tokio_postgres::NoTls)
            .await
            .expect("connects");
        tokio::spawn(connection);
        client
            .batch_execute(
                "CREATE TABLE register (id INT8 PRIMARY KEY, value INT8 NOT NULL);
                 INSERT INTO register SELECT id, 0 FROM generate_series(0, 63) AS id",
            )
            .await
            .expect("creates the table");
        let select = client
            .prepare("SELECT value FROM register WHERE id = $1")
            .await
            .expect("prepares");
        let update = client
            .prepare("UPDATE register SET value = $2 WHERE id = $1")
            .await
            .expect("prepares");
        let (start, mut accesses) = (Instant::now(), 0i64);
        while start.elapsed() < TIME {
            let id = accesses % 64;
            let value: i64 = client.query_one(&select, &[&id]).await.expect("reads").get(0);
            client.execute(&update, &[&id, &(value + 1)]).await.expect("writes");
            accesses += 1;
        }
        accesses as f64 / start.elapsed().as_secs_f64()
    });
    figures.add("naive_accesses_per_s", per_s, Bound::Note("the reference"));
}
