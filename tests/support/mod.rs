//! What the tests share: nodes that are the real binary, services on loopback, and ways to wait for a condition.
//!
//! Nothing here waits for a time. A deadline only bounds how long a condition may take, so it is generous.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part of this module")]

mod control;
mod node;
mod outsider;
pub mod process;
mod puppet;
pub mod road;
mod services;
pub mod tool;
pub mod traffic;

use std::{env, fmt::Display, str::FromStr, time::Duration};

pub use control::connect;
pub use node::{Node, peer};
pub use puppet::{Puppet, PuppetConnection};
pub use road::Road;
pub use services::{Service, Target, UnixService};

/// How long anything that should happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The transport that two nodes meet over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Quic,
}

impl Transport {
    /// Where a node of a test listens.
    pub fn any_port(self) -> &'static str {
        match self {
            Transport::Tcp => "/ip4/127.0.0.1/tcp/0",
            Transport::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
        }
    }
}

/// Makes two tests of each scenario, in the modules `over_tcp` and `over_quic`.
#[macro_export]
macro_rules! over_tcp_and_quic {
    ($($scenario:ident),+ $(,)?) => {
        mod over_tcp {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario($crate::support::Transport::Tcp).await;
            })+
        }
        mod over_quic {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $scenario() {
                super::$scenario($crate::support::Transport::Quic).await;
            })+
        }
    };
}

/// Two nodes whose files name each other as `server` and `client`; the client knows the server's address.
pub struct Pair {
    pub server: Node,
    pub client: Node,
}

impl Pair {
    /// `listens` and `forwards` are the tunnels of the server's and of the client's file.
    pub async fn start(transport: Transport, listens: &str, forwards: &str) -> Self {
        let mut pair = Self::prepare(transport).await;
        pair.launch(listens, forwards).await;
        pair
    }

    /// Two nodes with identities that do not run yet.
    pub async fn prepare(transport: Transport) -> Self {
        Self { server: Node::prepare("server", transport).await, client: Node::prepare("client", transport).await }
    }

    pub async fn launch(&mut self, listens: &str, forwards: &str) {
        self.server.body = format!("{}{listens}", peer("client", &self.client.id, &[]));
        self.server.start().await;
        let addresses = self.server.addresses().await;
        self.client.body = format!("{}{forwards}", peer("server", &self.server.id, &addresses));
        self.client.start().await;
    }

    /// The pair that most tests need: the service at `target` is `/x/echo`, for the client only.
    pub async fn echo(transport: Transport, target: impl Display) -> Self {
        Self::start(transport, &listen("echo", target), &forward("echo")).await
    }
}

/// A listen tunnel for the peer named `client`.
pub fn listen(name: &str, target: impl Display) -> String {
    format!("[listen.{name}]\ntarget = \"{target}\"\nallow = [\"client\"]\n")
}

/// A forward to the listen tunnel of the same name on the peer named `server`.
pub fn forward(name: &str) -> String {
    format!("[forward.{name}]\nprotocol = \"/x/{name}\"\nbind = \"127.0.0.1:0\"\npeer = \"server\"\n")
}

/// Awaits `future` for as long as a busy machine may need.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(PATIENCE, what, future).await
}

/// Awaits `future` for no longer than `limit`.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Asks again and again until `ask` has an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    soon(what, async {
        loop {
            match ask().await {
                Some(answer) => break answer,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// A number that the environment may enlarge: bounded in `cargo test`, full when somebody asks for it.
pub fn number<T: FromStr>(variable: &str, otherwise: T) -> T {
    match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => otherwise,
    }
}
