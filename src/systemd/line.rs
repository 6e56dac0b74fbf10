//! The one line that `systemctl status` shows.

use crate::{
    harmless::is_harmful,
    status::{State, Status},
};

/// Characters of the line. systemd drops a message that is longer than 4 KiB.
const LONGEST: usize = 400;

/// Counts, and what is wrong, if anything is.
pub(super) fn of(status: &Status, stopping: bool) -> String {
    let mut parts = vec![tunnels(status), streams(status)];
    if !status.peers.is_empty() {
        let connected = status.peers.iter().filter(|peer| peer.connected).count();
        parts.push(format!("{connected} of {} connected", counted(status.peers.len(), "peer")));
    }
    if stopping {
        parts.insert(0, "stopping".to_owned());
    }
    if !status.config.restart_required.is_empty() {
        parts.push(format!("a restart is needed for {}", status.config.restart_required.join(", ")));
    }
    parts.extend(error(status));
    harmless(&parts.join("; "))
}

fn tunnels(status: &Status) -> String {
    let states = [
        (State::Ready, "ready"),
        (State::Failed, "failed"),
        (State::Starting, "starting"),
        (State::Draining, "draining"),
    ];
    let mut parts = Vec::new();
    for (state, word) in states {
        match status.tunnels.iter().filter(|tunnel| tunnel.state == state).count() {
            0 => {}
            number if parts.is_empty() => parts.push(format!("{} {word}", counted(number, "tunnel"))),
            number => parts.push(format!("{number} {word}")),
        }
    }
    if parts.is_empty() { "no tunnels".to_owned() } else { parts.join(", ") }
}

fn streams(status: &Status) -> String {
    let live =
        status.tunnels.iter().map(|tunnel| tunnel.counters.streams.get() + tunnel.counters.draining_streams.get());
    counted(live.sum::<u64>() as usize, "stream")
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What most wants to be known: the refused file, then what is down, then what went wrong last where all is up.
fn error(status: &Status) -> Option<String> {
    let refused = status.config.error.as_ref().map(|error| format!("refused: {error}"));
    let tunnel_in = |state| {
        let mut errors = status.tunnels.iter().filter(move |tunnel| tunnel.state == state);
        errors.find_map(|tunnel| Some(format!("{}: {}", tunnel.name, tunnel.error.get()?)))
    };
    let listener = || {
        let mut errors = status.listeners.iter().filter(|listener| listener.state == State::Failed);
        errors.find_map(|listener| Some(format!("{}: {}", listener.address, listener.error.as_ref()?)))
    };
    refused.or_else(|| tunnel_in(State::Failed)).or_else(listener).or_else(|| tunnel_in(State::Ready))
}

/// `text` in one line of bounded length: a line break would begin another field of the message, and a peer may have had a
/// hand in what an error says.
fn harmless(text: &str) -> String {
    let mut characters = text.chars().map(|c| match c {
        c if c.is_whitespace() => ' ',
        c if is_harmful(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    });
    let mut line: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        line.pop();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        spec::{Kind, PeerId},
        status::{LastError, Path, PeerStatus, TunnelStatus},
    };

    fn status() -> Status {
        Status::new(PeerId::random(), "/etc/p2ptun.toml".into())
    }

    fn tunnel(name: &str, state: State, error: Option<&str>) -> TunnelStatus {
        let last = LastError::default();
        last.set(error.map(str::to_owned));
        TunnelStatus {
            name: name.try_into().unwrap(),
            kind: Kind::Forward,
            state,
            protocol: None,
            target: None,
            bind: None,
            peer: None,
            peers: None,
            counters: Arc::default(),
            error: last,
            retry_at: None,
        }
    }

    fn peer(connected: bool) -> PeerStatus {
        PeerStatus {
            id: PeerId::random(),
            name: None,
            connected,
            path: Path::None,
            address: None,
            rtt_ms: None,
            streams: Default::default(),
            error: None,
            error_at: None,
            retry_at: None,
        }
    }

    #[test]
    fn it_counts_and_says_what_is_wrong() {
        let mut status = status();
        assert_eq!(of(&status, false), "no tunnels; 0 streams");
        status.tunnels = vec![tunnel("a", State::Ready, Some("the peer did not answer in time"))];
        status.tunnels[0].counters.streams.add(1);
        assert_eq!(of(&status, false), "1 tunnel ready; 1 stream; a: the peer did not answer in time");
        status.tunnels.push(tunnel("b", State::Failed, Some("can't listen on 127.0.0.1:1")));
        status.tunnels.push(tunnel("c", State::Draining, None));
        status.tunnels[2].counters.draining_streams.add(11);
        status.peers = vec![peer(true), peer(true), peer(false)];
        assert_eq!(
            of(&status, false),
            "1 tunnel ready, 1 failed, 1 draining; 12 streams; 2 of 3 peers connected; b: can't listen on 127.0.0.1:1"
        );
        status.config.error = Some("/etc/p2ptun.toml:3:1: error: no".into());
        status.config.restart_required = vec!["node.identity".into()];
        assert_eq!(
            of(&status, true),
            "stopping; 1 tunnel ready, 1 failed, 1 draining; 12 streams; 2 of 3 peers connected; \
             a restart is needed for node.identity; refused: /etc/p2ptun.toml:3:1: error: no"
        );
    }

    #[test]
    fn only_states_that_a_tunnel_is_in_are_named() {
        let mut status = status();
        status.tunnels = vec![tunnel("a", State::Draining, None), tunnel("b", State::Draining, None)];
        assert_eq!(of(&status, true), "stopping; 2 tunnels draining; 0 streams");
        status.tunnels.push(tunnel("c", State::Starting, None));
        assert_eq!(of(&status, false), "1 tunnel starting, 2 draining; 0 streams");
    }

    #[test]
    fn no_error_can_add_a_field_steer_a_terminal_or_outgrow_the_message() {
        let mut status = status();
        status.config.error = Some("a\nREADY=1\r\u{85}\u{2028}b\u{1b}[31m\u{202e}c\0".into());
        assert_eq!(of(&status, false), "no tunnels; 0 streams; refused: a READY=1   b\u{fffd}[31m\u{fffd}c\u{fffd}");
        status.config.error = Some("€".repeat(5_000));
        let line = of(&status, false);
        assert!(line.chars().count() == LONGEST && line.ends_with("€…"), "{line}");
    }
}
