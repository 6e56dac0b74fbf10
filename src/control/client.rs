//! The command line's end of the control socket.

use std::{
    error::Error,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use serde::de::DeserializeOwned;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{ErrorBody, RELOAD_DEADLINE, Refusal, socket::client_paths};
use crate::status::{Applied, Status, streams::StreamStatus};

/// For a connection, and for an answer that the service has at hand.
const DEADLINE: Duration = Duration::from_secs(10);

/// A thousand tunnels with ten thousand streams fit several times.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How long to wait before another try where the service has more clients than its backlog holds.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// Why the service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no service is running ({}); start one with `p2ptun run`, or name its socket with --socket", Looked(.0))]
    NoService(Vec<(PathBuf, io::Error)>),
    #[error("no access to the service at {}: {remedy}", path.display())]
    NoAccess { path: PathBuf, remedy: String },
    #[error("the service at {} does not answer within {}", path.display(), humantime::format_duration(*within))]
    NoAnswer { path: PathBuf, within: Duration },
    #[error("the service at {} broke off: {source}", path.display())]
    BrokenOff { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    #[error("the service at {} gave an answer that makes no sense here: {what}", path.display())]
    Unexpected { path: PathBuf, what: String },
    #[error("the service at {} did not do it: {why}", path.display())]
    NotDone { path: PathBuf, why: String },
    #[error("the configuration was refused, and the set in force stays:\n{}", .0.error)]
    Refused(Refusal),
    #[error("there is no stream {0}; `p2ptun streams` lists those that are live")]
    NoSuchStream(u64),
}

/// Where no service was found, and why not.
struct Looked<'a>(&'a [(PathBuf, io::Error)]);

impl fmt::Display for Looked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (path, error)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {error}", path.display())?;
        }
        Ok(())
    }
}

/// Asks the service that is found first, anew for each question.
#[derive(Clone, Debug)]
pub struct Client {
    sockets: Vec<PathBuf>,
}

/// What the service said.
struct Answer {
    path: PathBuf,
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// A client of the service at `socket`, or of the one that is found first.
    pub fn new(socket: Option<&Path>) -> Self {
        Self { sockets: client_paths(socket) }
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(Method::GET, "/v1/status", DEADLINE).await?.json()
    }

    /// The status as the service put it, with whatever this version does not know.
    pub async fn status_json(&self) -> Result<serde_json::Value, ClientError> {
        self.ask(Method::GET, "/v1/status", DEADLINE).await?.json()
    }

    /// Returns when the new set is applied.
    pub async fn reload(&self) -> Result<Applied, ClientError> {
        // Longer than the service's own deadline, so that its answer about that arrives.
        let answer = self.ask(Method::POST, "/v1/reload", RELOAD_DEADLINE + DEADLINE).await?;
        match answer.status {
            StatusCode::UNPROCESSABLE_ENTITY => Err(ClientError::Refused(answer.refusal())),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(ClientError::NotDone { why: answer.error(), path: answer.path })
            }
            _ => answer.json(),
        }
    }

    pub async fn streams(&self) -> Result<Vec<StreamStatus>, ClientError> {
        self.ask(Method::GET, "/v1/streams", DEADLINE).await?.json()
    }

    /// The streams as the service puts them.
    pub async fn streams_json(&self) -> Result<Vec<serde_json::Value>, ClientError> {
        self.ask(Method::GET, "/v1/streams", DEADLINE).await?.json()
    }

    /// Cuts the stream `id`.
    pub async fn cut(&self, id: u64) -> Result<(), ClientError> {
        let answer = self.ask(Method::DELETE, &format!("/v1/streams/{id}"), DEADLINE).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(()),
            StatusCode::NOT_FOUND => Err(ClientError::NoSuchStream(id)),
            _ => Err(answer.unexpected()),
        }
    }

    async fn ask(&self, method: Method, target: &str, within: Duration) -> Result<Answer, ClientError> {
        let (path, stream) = self.connect().await?;
        match timeout(within, exchange(stream, method, target)).await {
            Ok(Ok((status, body))) => Ok(Answer { path, status, body }),
            Ok(Err(source)) => Err(ClientError::BrokenOff { path, source }),
            Err(_) => Err(ClientError::NoAnswer { path, within }),
        }
    }

    async fn connect(&self) -> Result<(PathBuf, UnixStream), ClientError> {
        let mut failed = Vec::new();
        for path in &self.sockets {
            match timeout(DEADLINE, connect(path)).await {
                Ok(Ok(stream)) => return Ok((path.clone(), stream)),
                Ok(Err(error)) => failed.push((path.clone(), error)),
                Err(_) => return Err(ClientError::NoAnswer { path: path.clone(), within: DEADLINE }),
            }
        }
        Err(nobody_answers(failed))
    }
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        if !self.status.is_success() {
            return Err(self.unexpected());
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| ClientError::Unexpected { path: self.path.clone(), what: error.to_string() })
    }

    /// What the service says is wrong.
    fn error(&self) -> String {
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(body) => body.error,
            Err(_) => self.status.to_string(),
        }
    }

    /// Why the file was refused; a service of an earlier version says it in one line.
    fn refusal(&self) -> Refusal {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| self.error().into())
    }

    fn unexpected(&self) -> ClientError {
        ClientError::Unexpected { path: self.path.clone(), what: self.error() }
    }
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            // The backlog is full: the service is there, and busy.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
            connected => return connected,
        }
    }
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    target: &str,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = target.parse()?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    let mut exchange = pin!(async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok((status, body))
    });
    tokio::select! {
        answer = &mut exchange => answer,
        // The service has hung up; what it said before that is still to be read.
        _ = connection => exchange.await,
    }
}

/// A place that denies access may hide the service; one that is empty, or refuses, does not.
fn nobody_answers(failed: Vec<(PathBuf, io::Error)>) -> ClientError {
    match failed.iter().find(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
        Some((path, _)) => ClientError::NoAccess { path: path.clone(), remedy: remedy(path) },
        None => ClientError::NoService(failed),
    }
}

/// How to get access to the socket at `path`.
fn remedy(path: &Path) -> String {
    // Either the socket keeps us out, or the innermost directory that can be looked at does.
    const WRITE_BY_GROUP: u32 = 0o020;
    const ENTER_BY_GROUP: u32 = 0o010;
    let door = path.ancestors().find_map(|door| Some((fs::metadata(door).ok()?, door == path)));
    let Some((metadata, is_socket)) = door else {
        return "try as root".into();
    };
    let needed = if is_socket { WRITE_BY_GROUP } else { ENTER_BY_GROUP };
    if metadata.mode() & needed == 0 {
        return "it is for its owner alone; try as root".into();
    }
    let group = match Group::from_gid(Gid::from_raw(metadata.gid())) {
        Ok(Some(group)) => group.name,
        _ => metadata.gid().to_string(),
    };
    if metadata.gid() == 0 {
        // Who is in that group is all but root: not for the sake of a status.
        return format!("it is for root and the group `{group}`; try as root");
    }
    format!("join the group `{group}` (`sudo usermod -aG {group} $USER`, then log in again), or try as root")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_place_that_denies_access_outweighs_those_where_nobody_is() {
        let missing = || (PathBuf::from("/a"), io::Error::from(io::ErrorKind::NotFound));
        let denied = || (PathBuf::from("/b"), io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(nobody_answers(vec![missing(), missing()]), ClientError::NoService(_)));
        let error = nobody_answers(vec![missing(), denied(), missing()]);
        assert!(matches!(&error, ClientError::NoAccess { path, .. } if path == Path::new("/b")), "{error}");
    }

    #[test]
    fn the_group_to_join_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let gid = fs::metadata(directory.path()).unwrap().gid();
        let group = Group::from_gid(Gid::from_raw(gid)).unwrap().unwrap().name;
        let socket = directory.path().join("control.sock");
        fs::write(&socket, "").unwrap();
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
        assert!(remedy(&socket).contains(&format!("the group `{group}`")));
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(remedy(&socket).contains("owner alone"));
        // Where the socket can't be seen, its directory decides.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o750)).unwrap();
        assert!(remedy(&directory.path().join("hidden.sock")).contains(&format!("the group `{group}`")));
    }

    #[tokio::test]
    async fn without_a_service_every_place_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let error = Client::new(Some(&socket)).status().await.unwrap_err();
        assert!(matches!(error, ClientError::NoService(_)));
        assert!(error.to_string().contains("control.sock: No such file"), "{error}");
    }
}
