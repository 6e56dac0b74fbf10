//! The status as a person reads it: first whether all is well, then what isn't, then everything.

use anstyle::Style;

use super::super::{
    layout::{Column, Note, Row, Section, paragraph, table},
    palette::{BAD, CAUTION, DETAIL, GOOD, NAME, PLAIN, of_number, paint},
    quantities::{ago, bytes, count, milliseconds, next_attempt},
    terminal::{clean, clean_lines},
};
use crate::{
    spec::Kind,
    status::{ConfigStatus, ListenerStatus, Path, PeerStatus, State, Status, Time, TunnelStatus},
};

/// Everything, in paragraphs, as it is `now`, for a terminal of this width.
pub(super) fn render(status: &Status, now: Time, width: usize) -> String {
    let paragraphs = [
        summary(status, width) + &troubles(status, now, width),
        tunnels(status, now, width),
        peers(status, now, width),
        node(status, now, width),
    ];
    let said: Vec<&str> = paragraphs.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    said.join("\n")
}

/// The first line: is all well?
fn summary(status: &Status, width: usize) -> String {
    let mut parts: Vec<(&str, Style, String)> = Vec::new();
    if status.config.error.is_some() {
        parts.push((" · ", BAD, "configuration refused".into()));
    }
    let in_state = |state| status.tunnels.iter().filter(|tunnel| tunnel.state == state).count() as u64;
    let mut separator = " · ";
    for state in [State::Ready, State::Failed, State::Starting, State::Draining, State::Unknown] {
        let text = match in_state(state) {
            0 => continue,
            number if separator == " · " => format!("{} {}", count(number, "tunnel"), word(state)),
            number => format!("{number} {}", word(state)),
        };
        let style = if state == State::Ready { PLAIN } else { colour(state) };
        parts.push((separator, style, text));
        separator = ", ";
    }
    if status.tunnels.is_empty() {
        parts.push((" · ", PLAIN, "no tunnels".into()));
    }
    match status.listeners.iter().filter(|listener| listener.state == State::Failed).count() {
        0 => {}
        failed => parts.push((" · ", BAD, format!("{} failed", count(failed as u64, "listener")))),
    }
    if !status.config.restart_required.is_empty() {
        parts.push((" · ", CAUTION, "restart needed".into()));
    }
    let streams =
        status.tunnels.iter().map(|tunnel| tunnel.counters.streams.get() + tunnel.counters.draining_streams.get());
    match streams.fold(0, u64::saturating_add) {
        0 if status.tunnels.is_empty() => {}
        streams => parts.push((" · ", PLAIN, count(streams, "stream"))),
    }
    if !status.peers.is_empty() {
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        let wanted = status.peers.iter().any(|peer| is_missed(peer, &status.tunnels));
        let text = format!("{connected} of {} connected", count(status.peers.len() as u64, "peer"));
        parts.push((" · ", if wanted { CAUTION } else { PLAIN }, text));
    }
    let has = |style| parts.iter().any(|(_, other, _)| *other == style);
    let (bullet, style) = match () {
        () if has(BAD) => ("×", BAD),
        () if has(CAUTION) => ("●", CAUTION),
        () if status.tunnels.is_empty() => ("○", DETAIL),
        () => ("●", GOOD),
    };
    let mut text = paint(style, bullet);
    let mut end = 1;
    for (number, (separator, style, part)) in parts.iter().enumerate() {
        let separator = if number == 0 { " " } else { separator };
        let length = separator.chars().count() + part.chars().count();
        if end + length > width {
            text += &format!("{}\n  ", separator.trim_end());
            end = 2 + part.chars().count();
        } else {
            text += separator;
            end += length;
        }
        text += &paint(*style, part);
    }
    text + "\n"
}

/// What is wrong with the node as a whole.
fn troubles(status: &Status, now: Time, width: usize) -> String {
    let mut text = refusal(&status.config, now, width);
    if !status.config.restart_required.is_empty() {
        let keys = clean(&status.config.restart_required.join(", "));
        let note =
            Note { mark: '!', style: CAUTION, text: format!("a restart is needed for {keys}"), aside: String::new() };
        text += &note.lines(width);
    }
    text + &status.listeners.iter().filter_map(|listener| troubled(listener, now, width)).collect::<String>()
}

fn refusal(config: &ConfigStatus, now: Time, width: usize) -> String {
    let Some(error) = &config.error else { return String::new() };
    let note = Note {
        mark: '!',
        style: BAD,
        text: "the file as it is now was refused; the set in force is older".into(),
        aside: when(config.error_at, None, now),
    };
    // Not broken into lines anew: it may show a piece of the file, and point at a place in it.
    format!("{}    {}\n", note.lines(width), clean_lines(error.trim_end(), "    "))
}

fn troubled(listener: &ListenerStatus, now: Time, width: usize) -> Option<String> {
    let address = clean(&listener.address.to_string());
    let text = match &listener.error {
        Some(error) => format!("can't listen on {address}: {}", clean_lines(error, "")),
        None if listener.state == State::Ready => return None,
        None => format!("{address} is {}", word(listener.state)),
    };
    let aside = when(listener.error_at, listener.retry_at, now);
    Some(Note { mark: '!', style: colour(listener.state), text, aside }.lines(width))
}

fn tunnels(status: &Status, now: Time, width: usize) -> String {
    if status.tunnels.is_empty() {
        let file = clean(&status.config.path.display().to_string());
        let text = format!(
            "{file} declares none for this node. Add a [listen.NAME] or a [forward.NAME] table to it, and the running \
             service follows."
        );
        return paragraph(&text, "  ", "  ", PLAIN, width);
    }
    let section = |kind, title, tail_title| {
        let of_kind = status.tunnels.iter().filter(|tunnel| tunnel.kind == kind);
        Section {
            titles: [title, "STATE", "STREAMS", "IN", "OUT"],
            tail_title,
            rows: of_kind.map(|tunnel| self::tunnel(tunnel, now)).collect(),
        }
    };
    let sections = [
        section(Kind::Listen, "LISTEN", "PROTOCOL → TARGET"),
        section(Kind::Forward, "FORWARD", "BIND → PEER, PROTOCOL"),
        section(Kind::Gateway, "GATEWAY", "BIND → PEERS"),
        section(Kind::Socks, "SOCKS", "BIND → PEERS"),
        section(Kind::Unknown, "OTHER", "ROUTE"),
    ];
    let columns = [names(width), Column::words(8), Column::numbers(7), Column::numbers(8), Column::numbers(8)];
    table(columns, &sections, width)
}

/// A column of names, which may be long, and mostly are not.
fn names(width: usize) -> Column {
    Column::words((width / 4).max(12))
}

fn tunnel(tunnel: &TunnelStatus, now: Time) -> Row<5> {
    let counters = &tunnel.counters;
    let (streams, draining) = (counters.streams.get(), counters.draining_streams.get());
    let mut notes = Vec::new();
    let style = if tunnel.state == State::Failed { BAD } else { CAUTION };
    if let Some(error) = tunnel.error.get() {
        let mut aside = when(tunnel.error.at(), tunnel.retry_at, now);
        if let (refused @ 1.., State::Ready) = (counters.refused.get(), tunnel.state) {
            aside = [&aside, &format!("{refused} turned away so far")].map(String::as_str).join(", ");
        }
        notes.push(Note { mark: '!', style, text: clean_lines(&error, ""), aside });
    }
    // Of a tunnel that is no longer declared all streams drain, as its state says.
    let shown = if tunnel.state == State::Draining { streams.saturating_add(draining) } else { streams };
    if draining > 0 && tunnel.state != State::Draining {
        let text = format!("{} still draining from before a change", count(draining, "stream"));
        notes.push(Note { mark: '+', style: CAUTION, text, aside: String::new() });
    }
    let size = |number| (of_number(number), bytes(number));
    Row {
        cells: [
            (NAME, clean(tunnel.name.as_str())),
            (colour(tunnel.state), word(tunnel.state).into()),
            (of_number(shown), shown.to_string()),
            size(counters.bytes_in.get()),
            size(counters.bytes_out.get()),
        ],
        tail: clean(&route(tunnel)),
        notes,
    }
}

/// From where to where: a listen's streams come by their protocol, those of the others go to a peer.
fn route(tunnel: &TunnelStatus) -> String {
    let protocol = tunnel.protocol.as_deref();
    let peers = tunnel.peer.clone().or_else(|| Some(tunnel.peers.as_ref()?.join(" | ")));
    let (from, to) = match &tunnel.target {
        Some(target) => (protocol, Some(target.clone())),
        None => match (peers, protocol) {
            (Some(peers), Some(protocol)) => (tunnel.bind.as_deref(), Some(format!("{peers} {protocol}"))),
            (peers, protocol) => (tunnel.bind.as_deref(), peers.or(protocol.map(str::to_owned))),
        },
    };
    match (from, to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (from, to) => from.map(str::to_owned).or(to).unwrap_or_default(),
    }
}

fn peers(status: &Status, now: Time, width: usize) -> String {
    let mut peers: Vec<_> = status.peers.iter().collect();
    // Those with a name first.
    peers.sort_by_key(|peer| (peer.name.is_none(), peer.name.clone()));
    let rows = peers.into_iter().map(|peer| self::peer(peer, is_missed(peer, &status.tunnels), now)).collect();
    let section = Section { titles: ["PEER", "PATH", "RTT", "STREAMS"], tail_title: "ADDRESS", rows };
    table([names(width), Column::words(9), Column::numbers(7), Column::numbers(7)], &[section], width)
}

/// Whether it should be connected and isn't: it is dialled, or a tunnel leads to it, which may have to wait for its call.
fn is_missed(peer: &PeerStatus, tunnels: &[TunnelStatus]) -> bool {
    let id = peer.id.to_string();
    let is_it = |written: &String| peer.name.as_ref() == Some(written) || written.ends_with(&id);
    let leads_there = |tunnel: &TunnelStatus| {
        tunnel.state != State::Draining && tunnel.peer.iter().chain(tunnel.peers.iter().flatten()).any(is_it)
    };
    !peer.connected && (peer.retry_at.is_some() || tunnels.iter().any(leads_there))
}

fn peer(peer: &PeerStatus, is_missed: bool, now: Time) -> Row<4> {
    let (style, path) = match peer.path {
        _ if !peer.connected => (if is_missed { CAUTION } else { DETAIL }, "none"),
        Path::Direct => (GOOD, "direct"),
        Path::Relayed => (CAUTION, "relayed"),
        Path::None | Path::Unknown => (PLAIN, "connected"),
    };
    let mut notes = Vec::new();
    if !peer.connected && (peer.error.is_some() || peer.retry_at.is_some()) {
        let (mark, style) = if is_missed { ('!', CAUTION) } else { ('-', DETAIL) };
        let text = peer.error.as_deref().map_or("not connected".into(), |error| clean_lines(error, ""));
        notes.push(Note { mark, style, text, aside: when(peer.error_at, peer.retry_at, now) });
    }
    Row {
        cells: [
            (NAME, clean(&peer.name.clone().unwrap_or_else(|| peer.id.to_string()))),
            (style, path.into()),
            (PLAIN, peer.rtt_ms.map(milliseconds).unwrap_or_default()),
            (of_number(peer.streams.get()), peer.streams.get().to_string()),
        ],
        tail: peer.address.as_ref().map(|address| clean(&address.to_string())).unwrap_or_default(),
        notes,
    }
}

/// Who this is, and what it goes by.
fn node(status: &Status, now: Time, width: usize) -> String {
    let own = format!("/p2p/{}", status.peer_id);
    let address = |address: String| address.strip_suffix(&own).map(str::to_owned).unwrap_or(address);
    let addresses = status.addresses.iter().map(|each| clean(&address(each.to_string())));
    let loaded = match status.config.loaded_at {
        Some(at) => format!("loaded {}", ago(at, now)),
        None => "not loaded".into(),
    };
    let mut text = format!("{}    {}\n", paint(DETAIL, "NODE"), status.peer_id);
    text += &addresses.map(|address| paragraph(&address, "        ", "        ", PLAIN, width)).collect::<String>();
    let config = format!("{}, {loaded}", clean(&status.config.path.display().to_string()));
    text + &paragraph(&config, &format!("{}  ", paint(DETAIL, "CONFIG")), "        ", PLAIN, width)
}

/// When something went wrong, and when it is tried again.
fn when(at: Option<Time>, retry_at: Option<Time>, now: Time) -> String {
    let said = [at.map(|at| ago(at, now)), retry_at.map(|at| next_attempt(at, now))];
    said.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Ready => "ready",
        State::Failed => "failed",
        State::Draining => "draining",
        State::Unknown => "unknown",
    }
}

fn colour(state: State) -> Style {
    match state {
        State::Ready => GOOD,
        State::Failed => BAD,
        State::Starting | State::Draining | State::Unknown => CAUTION,
    }
}
