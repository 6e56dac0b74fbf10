//! Opening a stream to the first of several peers that answers.

use std::{collections::VecDeque, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    node::{Node, Open, OpenError, Opened},
    spec::PeerId,
};

/// The head start of each peer over the next.
const HEAD_START: Duration = Duration::from_secs(2);

/// Between one time that all have failed and the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// Tries the peers in order: the next joins in when one has failed or has had its head start. The first that agrees
/// wins, and the others are dropped before a byte has passed. When all have failed, it begins again, until `deadline`.
///
/// # Errors
///
/// At `deadline`, with what the last failure was.
pub async fn first(node: &Node, opens: Vec<Open>, deadline: Instant) -> Result<(PeerId, Opened), OpenError> {
    let mut failure = OpenError::TimedOut;
    let rounds = async {
        loop {
            match round(node, &opens, deadline).await {
                Ok(opened) => return opened,
                Err(error) => failure = error,
            }
            sleep(PAUSE).await;
        }
    };
    let opened = timeout_at(deadline, rounds).await;
    opened.map_err(|_| failure)
}

async fn round(node: &Node, opens: &[Open], deadline: Instant) -> Result<(PeerId, Opened), OpenError> {
    let mut waiting: VecDeque<&Open> = opens.iter().collect();
    let mut racing = FuturesUnordered::new();
    let mut failure = OpenError::TimedOut;
    loop {
        if let Some(next) = waiting.pop_front() {
            racing.push(async move { (next.peer, node.open(next, deadline).await) });
        } else if racing.is_empty() {
            return Err(failure);
        }
        let head_start = async {
            match waiting.is_empty() {
                true => std::future::pending().await,
                false => sleep(HEAD_START).await,
            }
        };
        tokio::select! {
            Some((peer, opened)) = racing.next() => match opened {
                Ok(opened) => return Ok((peer, opened)),
                Err(error) => {
                    tracing::debug!(%peer, %error, "peer gives no stream; trying the next");
                    failure = error;
                }
            },
            () = head_start => {}
        }
    }
}
