//! How the sockets that a plan needs are had before any of its steps lets go of one.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, stream};

use super::Reconciler;
use crate::{
    plan::{SocketFrom, Step},
    spec::{Forward, Tunnel, TunnelName},
    tunnel::{
        is_built,
        socket::{BindError, Socket},
    },
};

/// Binds that may wait for a name to be resolved at a time; each takes a thread meanwhile.
const BINDS_AT_ONCE: usize = 64;

pub(super) type BindResult = Result<Arc<Socket>, BindError>;

async fn bind(forward: &Forward) -> BindResult {
    Socket::bind(&forward.bind).await.map(Arc::new)
}

impl Reconciler {
    /// Gets hold of the sockets that the steps need, before any of them lets go of one. Also tells which tunnels have to
    /// try again when others have let go.
    pub(super) async fn acquire(&self, steps: &[Step]) -> (HashMap<TunnelName, BindResult>, Vec<TunnelName>) {
        let let_go: Vec<_> = steps.iter().filter_map(|step| self.let_go_by(step)).collect();
        let (mut sockets, mut to_bind, mut postponed) = (HashMap::new(), Vec::new(), Vec::new());
        for step in steps {
            let (Step::Start { name, tunnel: tunnel @ Tunnel::Forward(forward), socket }
            | Step::Change { name, tunnel: tunnel @ Tunnel::Forward(forward), socket }) = step
            else {
                continue;
            };
            if !is_built(tunnel) {
                continue;
            }
            let handed_over = match socket {
                SocketFrom::Nowhere => continue,
                SocketFrom::HandOver(from) => self.runs.get(from).and_then(|run| run.socket.as_ref()),
                // What was declared as port 0 may now be declared as the port that it got.
                SocketFrom::Bind { .. } => let_go.iter().copied().find(|held| held.bound() == forward.bind.to_string()),
            };
            match handed_over {
                Some(held) => {
                    sockets.insert(name.clone(), held.set_access(&forward.bind).map(|()| held.clone()));
                }
                None => to_bind.push((name, forward, socket)),
            }
        }
        let bound = self.bind_all(to_bind.iter().map(|(_, forward, _)| *forward)).await;
        for ((name, _, socket), bound) in to_bind.into_iter().zip(bound) {
            match (bound, socket) {
                (Err(error), SocketFrom::Bind { after }) if error.is_in_use() && !after.is_empty() => {
                    postponed.push(name.clone());
                }
                (bound, _) => drop(sockets.insert(name.clone(), bound)),
            }
        }
        (sockets, postponed)
    }

    /// Binds for each of `forwards`, in their order. Side by side, for a name that nobody resolves in time takes seconds,
    /// and meanwhile the loop hears nothing.
    pub(super) async fn bind_all<'a>(&self, forwards: impl IntoIterator<Item = &'a Forward>) -> Vec<BindResult> {
        let binds: Vec<_> = forwards.into_iter().map(bind).collect();
        let bound = stream::iter(binds).buffered(BINDS_AT_ONCE).inspect(|_| self.steps.add(1));
        bound.collect().await
    }

    fn let_go_by(&self, step: &Step) -> Option<&Arc<Socket>> {
        let name = match step {
            Step::Retire(name) => name,
            Step::Change { name, socket, .. } if *socket != SocketFrom::Nowhere => name,
            Step::Change { .. } | Step::Start { .. } => return None,
        };
        self.runs.get(name)?.socket.as_ref()
    }

    /// Binds for the forward `name`, whose address is free now.
    pub(super) async fn bind_again(&mut self, name: &TunnelName) {
        let Some(run) = self.runs.get_mut(name) else { return };
        if let Tunnel::Forward(forward) = &run.tunnel {
            let bound = bind(forward).await;
            run.set_socket(bound).await;
        }
    }
}
