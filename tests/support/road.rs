//! A path between two nodes that can go dead without anybody being told.

use std::{net::SocketAddr, pin::pin};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What the kernel takes on a connection that nobody reads, about.
const RECEIVE_BUFFER: u32 = 64 * 1024;

/// Passes connections on to a node of this machine.
pub struct Road {
    listener: SocketAddr,
    stalled: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Road {
    /// A road to the TCP port of a multiaddr.
    pub async fn to(address: &str) -> Self {
        Self::open(Self::closed(), address).await
    }

    /// Where a road is to begin: until it is open, whoever comes is turned away.
    pub fn closed() -> TcpSocket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket
    }

    /// A road from there to the TCP port of a multiaddr.
    pub async fn open(closed: TcpSocket, address: &str) -> Self {
        let port = port_of(address);
        let listener: TcpListener = closed.listen(128).unwrap();
        let (address, stalled) = (listener.local_addr().unwrap(), watch::Sender::new(false));
        let (mut task, state) = (JoinSet::new(), stalled.clone());
        task.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                // Who comes while it is stalled has found another way.
                let (is_old, mut stalled) = (!*state.borrow(), state.subscribe());
                passing.spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
                    loop {
                        tokio::select! {
                            biased;
                            _ = stalled.wait_for(|stalled| *stalled && is_old) => {}
                            _ = &mut copying => return,
                        }
                        let _ = stalled.wait_for(|stalled| !*stalled).await;
                    }
                });
            }
        });
        Self { listener: address, stalled, _task: task }
    }

    /// The multiaddr at which it begins.
    pub fn entrance(&self) -> String {
        multiaddr(self.listener)
    }

    /// From now on nothing passes on the connections that there are.
    pub fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// What was held up goes on.
    pub fn go_on(&self) {
        self.stalled.send_replace(false);
    }
}

/// As a peer is given it.
pub fn multiaddr(address: SocketAddr) -> String {
    format!("/ip4/127.0.0.1/tcp/{}", address.port())
}

pub fn port_of(address: &str) -> u16 {
    address.split("/tcp/").nth(1).unwrap().split('/').next().unwrap().parse().unwrap()
}
