//! `p2ptun demo`: two full nodes on this machine, each with its own file, and a small web page that travels between
//! them. Touches nothing outside a temporary folder and the loopback interface.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use http_body_util::Full;
use hyper::{
    Request, Response, body::Bytes, body::Incoming, header::CONTENT_TYPE, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use super::{
    run::{raise_file_limit, serve},
    terminal::print,
};
use crate::{
    commands::{
        global::Global,
        logging::Logging,
        outcome::{Exit, Failure},
    },
    daemon::{Daemon, Options},
    log::Level,
    node::identity,
    spec::PeerId,
    status::{State, Status},
};

/// Everything is on this machine; what takes longer than this is not going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

const PAGE: &str = include_str!("demo/page.html");

#[derive(Debug, Args)]
pub struct Demo {
    #[command(flatten)]
    logging: Logging,
}

impl Demo {
    pub fn run(self, _: &Global) -> Result<Exit, Failure> {
        let _logging = self.logging.start(Level::Warn)?;
        raise_file_limit();
        let folder = tempfile::Builder::new().prefix("p2ptun-demo-").tempdir().map_err(cannot_create)?;
        let exit = serve(demo(folder.path()))?;
        folder.close().map_err(cannot_create)?;
        Ok(exit)
    }
}

/// One of the two nodes: its name, what it does, and its files in the demo's folder.
struct Place<'a> {
    folder: &'a Path,
    name: &'static str,
    does: &'static str,
}

impl Place<'_> {
    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    fn create_identity(&self) -> Result<PeerId, Failure> {
        Ok(identity::create(&self.file("key"))?)
    }

    /// Writes the node's file and runs the node in `nodes`; returns what it shows of itself.
    async fn start(
        &self,
        tunnels: &str,
        nodes: &mut JoinSet<Result<(), Failure>>,
    ) -> Result<watch::Receiver<Status>, Failure> {
        let text = format!(
            "# The node \"{name}\" of the demo. Edit and save: the running node follows.\n\n\
             [node]\nidentity = {key:?}\nlisten_addresses = [\"/ip4/127.0.0.1/tcp/0\"]\n\n\
             [discovery]\ndht = \"off\"\nmdns = false\n\n\
             [nat]\nupnp = false\nhole_punching = false\nrelays = \"off\"\n\n{tunnels}",
            name = self.name,
            key = self.file("key"),
        );
        fs::write(self.file("toml"), text).map_err(cannot_create)?;
        let options = Options { config: self.file("toml"), socket: Some(self.file("sock")) };
        let daemon = Daemon::start(options).await?;
        let status = daemon.status();
        nodes.spawn(async { Ok(daemon.run().await?) });
        Ok(status)
    }
}

async fn demo(folder: &Path) -> Result<(), Failure> {
    let server = Place { folder, name: "server", does: "has the page" };
    let visitor = Place { folder, name: "visitor", does: "lets your browser reach it" };
    let (server_id, visitor_id) = (server.create_identity()?, visitor.create_identity()?);
    let page = TcpListener::bind("127.0.0.1:0").await.map_err(cannot_create)?;
    let page_address = page.local_addr().map_err(cannot_create)?;

    let mut pages = JoinSet::new();
    pages.spawn(serve_page(page, page_address));

    let mut nodes = JoinSet::new();
    let tunnels = format!(
        "[peers.visitor]\nid = \"{visitor_id}\"\n\n\
         [listen.web]\ntarget = \"{page_address}\"\nallow = [\"visitor\"]\n"
    );
    let status = server.start(&tunnels, &mut nodes).await?;
    let address = wait_for(status, |status| status.addresses.first().cloned()).await?;

    let tunnels = format!(
        "[peers.server]\nid = \"{server_id}\"\naddresses = [\"{address}\"]\n\n\
         [forward.web]\nprotocol = \"/x/web\"\nbind = \"127.0.0.1:0\"\npeer = \"server\"\n"
    );
    let status = visitor.start(&tunnels, &mut nodes).await?;
    let bound = wait_for(status, |status| {
        let web = status.tunnels.iter().find(|tunnel| tunnel.state == State::Ready)?;
        let connected = status.peers.iter().any(|peer| peer.connected);
        web.bind.clone().filter(|_| connected)
    });
    print(&introduction(&bound.await?, &[&server, &visitor])?)?;

    // Each node takes the signal that ends the demo for itself.
    while let Some(ended) = nodes.join_next().await {
        ended.map_err(|error| Failure::new(Exit::Os, error.to_string()))??;
    }
    Ok(())
}

fn introduction(bound: &str, places: &[&Place<'_>]) -> Result<String, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::new(Exit::Os, error.to_string()))?;
    let program = program.display();
    let mut text = format!(
        "Two nodes are running, and a web page travels between them:\n\n    http://{bound}/\n\n\
         Each node follows its file. Edit one, save it, and ask its node how it is now:\n\n"
    );
    for place in places {
        let (file, socket) = (place.file("toml"), place.file("sock"));
        // Writing to a string can't fail.
        let _ = writeln!(text, "The {}, which {}:\n\n    {}", place.name, place.does, file.display());
        let _ = writeln!(text, "    {program} --socket {} status\n", socket.display());
    }
    text.push_str("Ctrl-C ends the demo and removes its folder.\n");
    Ok(text)
}

async fn wait_for<T>(mut status: watch::Receiver<Status>, seen: impl Fn(&Status) -> Option<T>) -> Result<T, Failure> {
    let waited = timeout(PATIENCE, async {
        loop {
            if let Some(found) = seen(&status.borrow_and_update()) {
                return Some(found);
            }
            status.changed().await.ok()?;
        }
    });
    let in_vain = || Failure::new(Exit::Unavailable, "the two nodes don't find each other; is loopback blocked?");
    waited.await.ok().flatten().ok_or_else(in_vain)
}

async fn serve_page(listener: TcpListener, address: SocketAddr) {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                visits.spawn(async move {
                    let page = service_fn(move |request: Request<Incoming>| async move { page(&request, address) });
                    // A visitor that leaves early is no concern of the demo's.
                    let _ = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), page).await;
                });
            }
            Some(_) = visits.join_next() => {}
        }
    }
}

fn page(request: &Request<Incoming>, address: SocketAddr) -> hyper::http::Result<Response<Full<Bytes>>> {
    if request.uri().path() != "/" {
        return Response::builder().status(404).body(Full::from("there is only one page here\n"));
    }
    let page = PAGE.replace("{{address}}", &address.to_string());
    Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8").body(Full::from(page))
}

fn cannot_create(error: io::Error) -> Failure {
    Failure::new(Exit::CannotCreate, format!("the demo can't have what it needs: {error}"))
}
