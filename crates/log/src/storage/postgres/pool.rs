//! Connections to a database: made when they are needed, kept while they work, dropped at the first error.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::access::PostgresAccess;
use super::sql;

/// How many connections there are at once.
const CONNECTIONS: usize = 8;
/// How soon a lost connection for notifications is made anew.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon it is tried again with a database that has no notifications.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// A parameter of a statement, owned by the operation.
pub(super) type Parameter = Box<dyn ToSql + Send + Sync>;

/// Whether a commit waits for the disk, and for that of a synchronous standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commits {
    Durable,
    /// What was committed last may be lost.
    Quick,
}

pub(super) struct Pool {
    access: PostgresAccess,
    commits: Commits,
    tls: MakeRustlsConnect,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

struct Connection {
    client: Client,
    statements: HashMap<&'static str, Statement>,
    notifies: bool,
}

/// What the database says, with the part that says something.
pub(super) fn failed(error: &tokio_postgres::Error) -> io::Error {
    let text = match error.as_db_error() {
        Some(db) => format!("the database: {} ({})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("the database: {error}: {source}"),
            None => format!("the database: {error}"),
        },
    };
    io::Error::other(text)
}

impl Connection {
    async fn prepared(&mut self, text: &'static str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(text) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(text).await?;
        self.statements.insert(text, statement.clone());
        Ok(statement)
    }

    async fn query(
        &mut self,
        text: &'static str,
        parameters: &[Parameter],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepared(text).await?;
        let parameters: Vec<_> = parameters.iter().map(|p| p.as_ref() as &(dyn ToSql + Sync)).collect();
        self.client.query(&statement, &parameters).await
    }
}

impl Pool {
    pub(super) fn new(access: PostgresAccess, commits: Commits) -> io::Result<Self> {
        let tls = access.tls()?;
        Ok(Self { access, commits, tls, idle: Mutex::default(), places: Semaphore::new(CONNECTIONS) })
    }

    /// A connection that has the settings on which the log's promise rests.
    async fn connect(&self) -> io::Result<Connection> {
        let connected = self.access.config().connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(|e| match e.as_db_error() {
            Some(_) => failed(&e),
            None => {
                let place = self.access.place();
                io::Error::new(io::ErrorKind::NotConnected, format!("{} (at {place})", failed(&e)))
            }
        })?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %failed(&error), "a connection to the database ended");
            }
        });
        let row = client.query_one(sql::SETTINGS, &[]).await.map_err(|e| failed(&e))?;
        let (fsync, commit, notifies): (Option<String>, Option<String>, bool) =
            (row.get(0), row.get(1), row.get(2));
        if fsync.is_some_and(|fsync| fsync != "on") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the database runs with fsync off: it would lose entries that were acknowledged. Expected fsync = on",
            ));
        }
        // Where there is a synchronous standby, "on" waits for its disk too; what is stronger stays.
        let set = match (self.commits, commit.as_deref()) {
            (_, None) | (Commits::Durable, Some("on" | "remote_apply")) => "",
            (Commits::Durable, Some(_)) => "SET synchronous_commit = on",
            (Commits::Quick, Some(_)) => "SET synchronous_commit = off",
        };
        client.batch_execute(set).await.map_err(|e| failed(&e))?;
        Ok(Connection { client, statements: HashMap::new(), notifies })
    }

    /// Makes the tables, if they are not there.
    pub(super) async fn prepare(&self) -> io::Result<()> {
        let connection = self.connect().await?;
        for attempt in 0.. {
            let there = connection.client.query_one(sql::READY, &[]).await.map_err(|e| failed(&e))?;
            if there.get(0) {
                break;
            }
            match connection.client.batch_execute(sql::TABLES).await {
                Ok(()) => break,
                // Another process made them at the same moment.
                Err(_) if attempt < 5 => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(failed(&error)),
            }
        }
        // A matter of speed only, and not every database knows it.
        let _ = connection.client.batch_execute(sql::STORAGE).await;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }

    /// Runs a statement, in a transaction of its own; then tells who listens.
    pub(super) async fn query(
        self: Arc<Self>,
        text: &'static str,
        parameters: Vec<Parameter>,
        tell: Option<String>,
    ) -> io::Result<Vec<Row>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let kept = loop {
            match self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
                Some(connection) if connection.client.is_closed() => {}
                other => break other,
            }
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let rows = connection.query(text, &parameters).await.map_err(|e| failed(&e))?;
        if let Some(payload) = tell.filter(|_| connection.notifies) {
            let told = connection.query(sql::NOTIFY, &[Box::new(payload)]).await;
            if told.is_err() {
                // What was done is done; whoever listens finds out by asking.
                return Ok(rows);
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(rows)
    }

    /// Listens for as long as there is somebody to tell; each time anew after the connection was lost.
    pub(super) async fn listen(self: Arc<Self>, heard: impl Fn(Option<&str>) + Send + Sync) {
        loop {
            let pause = match self.hear(&heard).await {
                Ok(()) => AGAIN,
                Err(error) if error.code().is_some_and(|code| code.code().starts_with("0A")) => MUCH_LATER,
                Err(error) => {
                    tracing::debug!(error = %failed(&error), "listening to the database failed; asking it instead");
                    AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn hear(&self, heard: &(impl Fn(Option<&str>) + Send + Sync)) -> Result<(), tokio_postgres::Error> {
        let (client, mut connection) = self.access.config().connect(self.tls.clone()).await?;
        let listening = async {
            client.batch_execute(sql::LISTEN).await?;
            // Whatever was said before this was not heard.
            heard(None);
            std::future::pending::<Result<(), tokio_postgres::Error>>().await
        };
        let driving = async {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message? {
                    heard(Some(notification.payload()));
                }
            }
            Ok(())
        };
        tokio::select! {
            result = listening => result,
            result = driving => result,
        }
    }
}
