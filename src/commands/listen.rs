//! `p2ptun listen`: one listen tunnel in the foreground, or into the file.

use clap::Args;

use super::{
    outcome::{Exit, Failure},
    tunnel::{Common, Report, Tunnelling, farthest_first, print_block, shell_word},
};
use crate::{
    commands::global::Global,
    config::Declaration,
    foreground::Foreground,
    spec::{Kind, Tunnel, listen_addresses_on},
};

#[derive(Debug, Args)]
pub struct Listen {
    /// The protocol to offer, such as /x/ssh
    #[arg(value_name = "PROTO")]
    protocol: String,
    /// What to connect to: host:port, /ip4/.../tcp/..., or unix:/path
    #[arg(value_name = "TARGET")]
    target: String,
    /// Who may connect: names of peers in the configuration file, peer ids, or "anyone"; more than one with commas, or
    /// the option again
    #[arg(long, value_name = "PEER", required = true, value_delimiter = ',')]
    allow: Vec<String>,
    /// Send "<peer id>\n" to the target first
    #[arg(short, long)]
    report_peer_id: bool,
    /// Send a PROXY protocol header to the target first: v1 or v2
    #[arg(long, value_name = "VERSION")]
    proxy_protocol: Option<String>,
    /// Connections at a time [default: 1024]
    #[arg(long, value_name = "NUMBER")]
    max_connections: Option<u32>,
    /// Connections of one peer at a time [default: 256 with --allow anyone, else no limit of its own]
    #[arg(long, value_name = "NUMBER")]
    max_connections_per_peer: Option<u32>,
    /// How long the target may take to answer [default: 10s]
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Listen {
    pub fn run(self, global: &Global) -> Result<Exit, Failure> {
        if self.allow.len() > 1 && self.allow.iter().any(|peer| peer == "anyone") {
            return Err(self.common.wrong("--allow: \"anyone\" stands by itself; leave the others out, or it"));
        }
        let known = self.common.known_peers(global, "--allow", &self.allow)?;
        let declaration = self.declaration();
        let declared = self.common.read(&declaration, &known)?;
        if self.common.save.is_some() {
            return super::save::save(global, &declaration);
        }
        let allow = match &declared {
            Tunnel::Listen(listen) => Some(listen.allow.clone()),
            _ => None,
        };
        let report = Report::of(&known, move |peer| allow.as_ref().is_some_and(|allow| allow.allows(peer)));
        let tunnelling = Tunnelling { tunnel: declared, known, otherwise: listen_addresses_on(0) };
        self.common.serve(tunnelling, report, |running| self.introduce(running))
    }

    fn declaration(&self) -> Declaration {
        let declaration = self.common.declaration(Kind::Listen).text("protocol", "PROTO", Some(&self.protocol)).text(
            "target",
            "TARGET",
            Some(&self.target),
        );
        let declaration = match self.allow.as_slice() {
            [anyone] if anyone == "anyone" => declaration.text("allow", "--allow", Some(anyone)),
            peers => declaration.list("allow", "--allow", peers),
        };
        declaration
            .flag("report_peer_id", "--report-peer-id", self.report_peer_id)
            .text("proxy_protocol", "--proxy-protocol", self.proxy_protocol.as_deref())
            .number("max_connections", "--max-connections", self.max_connections)
            .number("max_connections_per_peer", "--max-connections-per-peer", self.max_connections_per_peer)
            .text("connect_timeout", "--connect-timeout", self.connect_timeout.as_deref())
    }

    /// Says who this node is, and what to run at the other end.
    fn introduce(&self, running: &Foreground) -> Result<(), Failure> {
        let id = running.peer_id();
        let addresses = farthest_first(running.addresses());
        let addresses: Vec<_> = addresses.iter().map(|address| format!("{address}/p2p/{id}")).collect();
        let protocol = shell_word(&self.protocol);
        let custom = if self.common.allow_custom_protocol { " --allow-custom-protocol" } else { "" };
        let peer = addresses.first().cloned().unwrap_or_else(|| id.to_string());
        let listed: String = addresses.iter().map(|address| format!("    {address}\n")).collect();
        print_block(&format!(
            "peer id {id}\nlistening for {} to connect it to {}, for {}\n\nThis node can be reached at\n\n{listed}\n\
             At the other end, run\n\n    p2ptun forward {protocol} 127.0.0.1:0 {peer}{custom}\n\nCtrl-C ends it.",
            self.protocol,
            self.target,
            self.allow.join(", "),
        ))
    }
}
