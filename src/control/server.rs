//! The service's end of the control socket.
//!
//! A client can be slow, broken or malicious, and still only takes one of [`MAX_CONNECTIONS`] places for a few
//! seconds: every phase of a request has its own deadline, and each connection serves one request. Where all places are
//! taken, the client that has had the most time makes room for a newcomer, so that nobody waits for the deadlines of the
//! idle.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    io,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::UnixStream,
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{
    ErrorBody, RELOAD_DEADLINE, ReloadRequest,
    socket::{ControlSocket, SocketError},
};
use crate::{
    log::{Limits, Repeats},
    status::{Status, streams::LiveStreams},
};

/// Served at once.
const MAX_CONNECTIONS: usize = 64;

/// Reloads that may be waited for at once. Fewer than there are places, so that somebody can always make room.
const MAX_RELOADS: usize = MAX_CONNECTIONS / 2;

/// Nobody makes room sooner: a client that is in earnest has long asked by then.
const GRACE: Duration = Duration::from_millis(200);

/// For the head of a request to arrive, and again for its body.
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// For the client to take its answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// No request has a use for a body, but some clients send one.
const MAX_BODY: usize = 16 * 1024;

/// Bounds the head of a request as well.
const MAX_BUFFER: usize = 16 * 1024;

/// How long to wait when the machine has no file descriptor left for a client.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server shows, and whom it asks.
#[derive(Clone)]
pub struct Handles {
    pub status: watch::Receiver<Status>,
    pub streams: LiveStreams,
    pub reload: mpsc::Sender<ReloadRequest>,
}

/// The bound control socket. Its file goes when the server does.
pub struct Server {
    socket: ControlSocket,
    handles: Handles,
}

impl Server {
    /// Binds the socket at `path`: clients can connect from here on, and are answered once [`Server::run`] runs.
    ///
    /// Must be called within a tokio runtime.
    pub fn bind(path: &Path, handles: Handles) -> Result<Self, SocketError> {
        Ok(Self { socket: ControlSocket::bind(path)?, handles })
    }

    pub fn path(&self) -> &Path {
        &self.socket.file.path
    }

    /// Serves until `stop` is cancelled, or this future dropped; connections that are open then are cut.
    pub async fn run(self, stop: CancellationToken) {
        let reloads = Arc::new(Semaphore::new(MAX_RELOADS));
        let mut connections = JoinSet::new();
        let mut failures = Repeats::new(Limits { kinds: 4, burst: 1 });
        let mut places = Places::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(ended) = connections.join_next() => report_panic(ended),
                // One more than there are places: the newcomer is served at once, and then somebody makes room.
                accepted = self.socket.listener.accept(), if connections.len() <= MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        let asked = Asked { handles: self.handles.clone(), reloads: reloads.clone(), waits: Arc::default() };
                        let waits = asked.waits.clone();
                        places.take(connections.spawn(serve(stream, asked)), waits);
                    }
                    Err(error) => pause_after(error, &mut failures).await,
                },
                place = places.first_to_go(), if connections.len() > MAX_CONNECTIONS => {
                    places.0[place].connection.abort();
                    debug!("a control client was too slow for the number of others");
                    // It, or another one that has ended meanwhile.
                    if let Some(ended) = connections.join_next().await {
                        report_panic(ended);
                    }
                }
            }
        }
    }
}

/// Who is being served, in the order in which they came.
#[derive(Default)]
struct Places(VecDeque<Place>);

struct Place {
    connection: AbortHandle,
    since: Instant,
    /// Whether it is the client that waits, for a reload.
    waits: Arc<AtomicBool>,
}

impl Places {
    fn take(&mut self, connection: AbortHandle, waits: Arc<AtomicBool>) {
        self.0.retain(|place| !place.connection.is_finished());
        self.0.push_back(Place { connection, since: Instant::now(), waits });
    }

    /// The client that has had the most time to ask, or to take its answer, once that was long enough. One whose reload
    /// begins in this very moment is told that the service broke off; the reload is done all the same.
    async fn first_to_go(&self) -> usize {
        let slow = |place: &Place| !place.connection.is_finished() && !place.waits.load(Ordering::Relaxed);
        loop {
            match self.0.iter().position(slow) {
                Some(place) if self.0[place].since.elapsed() >= GRACE => return place,
                Some(place) => sleep_until(self.0[place].since + GRACE).await,
                None => pending().await,
            }
        }
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Some(error) = ended.err().filter(JoinError::is_panic) {
        error!(%error, "the task of a control connection has failed, which is a bug");
    }
}

async fn pause_after(error: io::Error, failures: &mut Repeats<String>) {
    if let Some(told) = failures.seen(error.to_string(), (), Instant::now()) {
        warn!(%error, repeated = told.repeated(), "can't accept a control connection; trying again");
    }
    sleep(ACCEPT_PAUSE).await;
}

/// What one connection is served from.
struct Asked {
    handles: Handles,
    /// Room for those that wait for a reload.
    reloads: Arc<Semaphore>,
    /// See [`Place::waits`].
    waits: Arc<AtomicBool>,
}

/// One connection, which is one request.
async fn serve(stream: UnixStream, asked: Asked) {
    let answered = Notify::new();
    let service = service_fn(|request| async {
        let response = answer(request, &asked).await;
        answered.notify_one();
        Ok::<_, Infallible>(response)
    });
    let connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_DEADLINE)
            .keep_alive(false)
            // A client that has said all may say so, as `nc -N` does, and still waits for its answer.
            .half_close(true)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
    );
    let too_slow = async {
        answered.notified().await;
        sleep(ANSWER_DEADLINE).await;
    };
    tokio::select! {
        served = connection => if let Err(error) = served {
            debug!(%error, "control connection failed");
        },
        () = too_slow => debug!("control client does not read its answer"),
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, asked: &Asked) -> Answer {
    let (head, body) = request.into_parts();
    match timeout(REQUEST_DEADLINE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(_)) => route(&head.method, head.uri.path(), asked).await,
        Ok(Err(cause)) if cause.is::<LengthLimitError>() => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "no request has a use for so long a body")
        }
        Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the body of the request is broken"),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the body of the request does not arrive"),
    }
}

async fn route(method: &Method, path: &str, asked: &Asked) -> Answer {
    let handles = &asked.handles;
    match path {
        "/v1/status" if method == Method::GET => json(StatusCode::OK, &*handles.status.borrow()),
        "/v1/status" => allow_only("GET"),
        "/v1/reload" if method == Method::POST => match asked.reloads.try_acquire() {
            Ok(_waiting) => {
                // To the end: its answer is short, and nobody has waited for anything as long.
                asked.waits.store(true, Ordering::Relaxed);
                reload(&handles.reload).await
            }
            Err(_) => refuse(StatusCode::SERVICE_UNAVAILABLE, "too many others wait for a reload"),
        },
        "/v1/reload" => allow_only("POST"),
        "/v1/streams" if method == Method::GET => json(StatusCode::OK, &handles.streams.list()),
        "/v1/streams" => allow_only("GET"),
        _ => match path.strip_prefix("/v1/streams/") {
            Some(id) if method == Method::DELETE => cut(id, &handles.streams),
            Some(_) => allow_only("DELETE"),
            None => refuse(StatusCode::NOT_FOUND, "there is no such path; try /v1/status"),
        },
    }
}

async fn reload(daemon: &mpsc::Sender<ReloadRequest>) -> Answer {
    let asked = async {
        let (reply, outcome) = oneshot::channel();
        daemon.send(ReloadRequest { reply }).await.ok()?;
        outcome.await.ok()
    };
    match timeout(RELOAD_DEADLINE, asked).await {
        Ok(Some(Ok(applied))) => json(StatusCode::OK, &applied),
        Ok(Some(Err(refusal))) => json(StatusCode::UNPROCESSABLE_ENTITY, &refusal),
        Ok(None) => refuse(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping"),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, "the reload is not done yet; see `p2ptun status`"),
    }
}

fn cut(id: &str, streams: &LiveStreams) -> Answer {
    if id.parse().is_ok_and(|id| streams.cut(id)) {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer
    } else {
        refuse(
            StatusCode::NOT_FOUND,
            "there is no such stream; `p2ptun streams`, which is GET /v1/streams, lists those that are live",
        )
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut answer = Response::new(Full::from(bytes));
            *answer.status_mut() = status;
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        // A path that is not UTF-8 has no place in JSON.
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be put in JSON: {error}")),
    }
}

fn refuse(status: StatusCode, why: impl Into<String>) -> Answer {
    json(status, &ErrorBody { error: why.into() })
}

fn allow_only(method: &'static str) -> Answer {
    let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, format!("the only method here is {method}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}
