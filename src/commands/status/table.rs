//! The status as a person reads it, in 80 columns.

use bytesize::ByteSize;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::super::terminal::{clean, clean_lines};
use crate::status::{ConfigStatus, Counters, ListenerStatus, Path, PeerStatus, State, Status, TunnelStatus};

const WIDTH: u16 = 80;

/// Between columns.
const GAP: u16 = 2;

/// Everything, in paragraphs.
pub(super) fn render(status: &Status) -> String {
    let paragraphs = [head(status), tunnels(&status.tunnels), peers(&status.peers)];
    let said: Vec<&str> = paragraphs.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    said.join("\n")
}

fn head(status: &Status) -> String {
    let mut text = format!("peer id   {}\n", status.peer_id);
    for address in &status.addresses {
        text += &format!("address   {}\n", clean(&address.to_string()));
    }
    text += &config(&status.config);
    text += &status.listeners.iter().filter_map(troubled).collect::<String>();
    text
}

fn config(config: &ConfigStatus) -> String {
    let loaded = config.loaded_at.map_or("not loaded".into(), |at| format!("loaded {at}"));
    let mut text = clean(&format!("config    {}, {loaded}", config.path.display())) + "\n";
    if let Some(error) = &config.error {
        text += &format!("refused   {}\n", clean_lines(error, "          "));
    }
    if !config.restart_required.is_empty() {
        text += &clean(&format!("restart   needed for {}", config.restart_required.join(", ")));
        text += "\n";
    }
    text
}

fn troubled(listener: &ListenerStatus) -> Option<String> {
    let error = listener.error.as_deref();
    if listener.state == State::Ready && error.is_none() {
        return None;
    }
    let state = state(listener.state);
    let why = error.map(|error| format!(": {}", clean_lines(error, "          "))).unwrap_or_default();
    Some(format!("listener  {} {state}{why}\n", clean(&listener.address.to_string())))
}

fn tunnels(tunnels: &[TunnelStatus]) -> String {
    if tunnels.is_empty() {
        return "no tunnels\n".into();
    }
    let mut table = table(["TUNNEL", "KIND", "STATE", "ROUTE", "STREAMS", "IN", "OUT"]);
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for tunnel in tunnels {
        let Counters { bytes_in, bytes_out, .. } = &*tunnel.counters;
        table.add_row([
            clean(tunnel.name.as_str()),
            tunnel.kind.to_string(),
            state(tunnel.state).into(),
            clean(&route(tunnel)),
            streams(&tunnel.counters),
            bytes(bytes_in.get()),
            bytes(bytes_out.get()),
        ]);
    }
    let errors = tunnels.iter().filter_map(|tunnel| {
        let error = clean_lines(&tunnel.error.get()?, "  ");
        Some(format!("! {}: {error}\n", clean(tunnel.name.as_str())))
    });
    lines(&table) + &errors.collect::<String>()
}

/// From where to where: each end is a local socket or a peer.
fn route(tunnel: &TunnelStatus) -> String {
    let peers = || tunnel.peer.clone().or_else(|| Some(tunnel.peers.as_ref()?.join(" | ")));
    let from = tunnel.bind.as_ref().or(tunnel.protocol.as_ref());
    let to = tunnel.target.clone().or_else(peers);
    [from.cloned(), to].into_iter().flatten().collect::<Vec<_>>().join(" → ")
}

fn streams(counters: &Counters) -> String {
    match counters.draining_streams.get() {
        0 => counters.streams.get().to_string(),
        draining => format!("{} (+{draining})", counters.streams.get()),
    }
}

fn peers(peers: &[PeerStatus]) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let mut table = table(["PEER", "PATH", "RTT", "ADDRESS"]);
    for peer in peers {
        table.add_row([
            clean(&peer.name.clone().unwrap_or_else(|| peer.id.to_string())),
            path(peer).into(),
            peer.rtt_ms.map(|rtt| format!("{rtt:.1} ms")).unwrap_or_default(),
            peer.address.as_ref().map(|address| clean(&address.to_string())).unwrap_or_default(),
        ]);
    }
    lines(&table)
}

fn path(peer: &PeerStatus) -> &'static str {
    match peer.path {
        _ if !peer.connected => "none",
        Path::Direct => "direct",
        Path::Relayed => "relayed",
        Path::None | Path::Unknown => "connected",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Failed => "failed",
        State::Draining => "draining",
        State::Unknown => "unknown",
    }
}

fn bytes(count: u64) -> String {
    ByteSize(count).display().iec().to_string()
}

fn table<const COLUMNS: usize>(titles: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(titles.map(Cell::new));
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
