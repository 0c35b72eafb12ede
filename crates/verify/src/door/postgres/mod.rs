//! PostgreSQL, by the simple queries of its protocol (version 3), with no password asked.
//!
//! A transaction that failed before its COMMIT was sent did not happen. One whose COMMIT has no answer is of unknown outcome.

mod steps;

use crate::op::{Ended, Op};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The largest message that is read.
const MESSAGE_MAX: u32 = 64 << 20;
/// The version of the protocol that is spoken.
const PROTOCOL: u32 = 3 << 16;

/// One client's connection.
pub(crate) struct Postgres {
    port: u16,
    isolation: String,
    patience: Duration,
    session: Option<Session>,
}

/// Why a query has no result.
enum Trouble {
    /// The server says so.
    Refused(String),
    /// What it met says that it is not to be done.
    Met,
    /// The connection broke, or nothing came in time.
    Lost(String),
}

impl Trouble {
    fn words(self) -> String {
        match self {
            Self::Refused(why) | Self::Lost(why) => why,
            Self::Met => "refused".into(),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Postgres {
    /// A client of the server behind a port of loopback.
    pub(crate) fn new(port: u16, isolation: String, patience: Duration) -> Self {
        Self { port, isolation, patience, session: None }
    }

    /// Does it.
    pub(crate) async fn perform(&mut self, op: &Op) -> Ended {
        let session = match self.session.take() {
            Some(session) => Ok(session),
            None => match timeout(self.patience, Session::open(self.port)).await {
                Ok(opened) => opened,
                Err(_) => Err(Trouble::Lost("no answer in time".into())),
            },
        };
        let mut session = match session {
            Ok(session) => session,
            Err(trouble) => return Ended::failed(trouble.words()),
        };
        let steps = timeout(self.patience, session.transaction(&self.isolation, op)).await;
        let result = match steps {
            Ok(Ok(result)) => result,
            Ok(Err(trouble @ (Trouble::Refused(_) | Trouble::Met))) => {
                if let Ok(Ok(_)) = timeout(self.patience, session.query("ROLLBACK")).await {
                    self.session = Some(session);
                }
                return if matches!(trouble, Trouble::Met) {
                    Ended::refused(None)
                } else {
                    Ended::failed(trouble.words())
                };
            }
            // Without its connection the server gives the transaction up.
            Ok(Err(Trouble::Lost(why))) => return Ended::failed(why),
            Err(_) => return Ended::failed("no answer in time"),
        };
        match timeout(self.patience, session.query("COMMIT")).await {
            Ok(Ok(_)) => {
                self.session = Some(session);
                Ended::ok(result, None)
            }
            Ok(Err(Trouble::Lost(why))) => Ended::unknown(why),
            Ok(Err(refused)) => {
                self.session = Some(session);
                Ended::failed(refused.words())
            }
            Err(_) => Ended::unknown("no answer in time"),
        }
    }
}

struct Session {
    stream: TcpStream,
}

impl Session {
    async fn open(port: u16) -> Result<Self, Trouble> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let body = b"user\0postgres\0database\0postgres\0\0";
        let mut hello = Vec::from((body.len() as u32 + 8).to_be_bytes());
        hello.extend(PROTOCOL.to_be_bytes());
        hello.extend(body);
        stream.write_all(&hello).await?;
        let mut session = Self { stream };
        session.answers().await?;
        Ok(session)
    }

    /// All but the COMMIT: the operation's value, with what was read.
    async fn transaction(&mut self, isolation: &str, op: &Op) -> Result<Value, Trouble> {
        self.query(&format!("BEGIN ISOLATION LEVEL {isolation}")).await?;
        self.steps(op).await
    }

    /// The first column of all rows.
    async fn query(&mut self, sql: &str) -> Result<Vec<String>, Trouble> {
        let mut message = vec![b'Q'];
        message.extend((sql.len() as u32 + 5).to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.stream.write_all(&message).await?;
        self.answers().await
    }

    /// Reads until the server waits for the next query.
    async fn answers(&mut self) -> Result<Vec<String>, Trouble> {
        let (mut rows, mut wrong) = (Vec::new(), None);
        loop {
            let kind = self.stream.read_u8().await?;
            let length = self.stream.read_u32().await?;
            if !(4..=MESSAGE_MAX).contains(&length) {
                return Err(Trouble::Lost(format!("a message of {length} bytes")));
            }
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).await?;
            match kind {
                b'D' => rows.extend(first_column(&body)),
                b'E' => wrong = Some(error(&body)),
                b'R' if body[..] != [0; 4] => return Err(Trouble::Refused("it asks for a password".into())),
                b'Z' => return wrong.map_or(Ok(rows), |why| Err(Trouble::Refused(why))),
                _ => {}
            }
            // After a fatal error nothing more comes.
            if let Some(why) = wrong.as_ref().filter(|why| why.starts_with("FATAL")) {
                return Err(Trouble::Lost(why.clone()));
            }
        }
    }
}

fn first_column(body: &[u8]) -> Option<String> {
    let length = u32::from_be_bytes(body.get(2..6)?.try_into().ok()?);
    let text = body.get(6..6_usize.checked_add(length as usize)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Severity, code and text of an error.
fn error(body: &[u8]) -> String {
    let field = |name: u8| {
        let found = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&name));
        found.map(|field| String::from_utf8_lossy(&field[1..]).into_owned()).unwrap_or_default()
    };
    format!("{} {}: {}", field(b'S'), field(b'C'), field(b'M'))
}

/// Makes the tables, on a server that has none.
pub(crate) async fn prepare(port: u16) -> Result<(), String> {
    let mut session = Session::open(port).await.map_err(Trouble::words)?;
    session.query(steps::TABLES).await.map(|_| ()).map_err(Trouble::words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_far_as_they_go() {
        assert_eq!(first_column(b"\0\x01\0\0\0\x02hi"), Some("hi".into()));
        // A null, and lengths that lie.
        assert_eq!(first_column(b"\0\x01\xff\xff\xff\xff"), None);
        assert_eq!(first_column(b"\0\x01\0\0\0\x09hi"), None);
        assert_eq!(first_column(b"\0"), None);
        assert_eq!(error(b"SERROR\0C40001\0Mcould not serialize\0\0"), "ERROR 40001: could not serialize");
        assert_eq!(error(b""), " : ");
    }
}
