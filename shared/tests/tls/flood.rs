//! Connections that begin and never go on.

use std::time::Duration;

use dynamic_mcp_shared::tls::{Identity, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::rig::{Side, authority, executor, good};

#[tokio::test]
async fn stalled_handshakes_keep_nobody_out_and_are_ended() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let one = Side::new(&ca, &good(executor("exe_one")));
    let served = one.serve(Role::ControlPlane).await;
    let mut stalled = Vec::new();
    // More than may shake hands at once.
    for n in 0..300 {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        if n % 2 == 0 {
            // The beginning of a TLS record.
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        stalled.push(stream);
    }
    control.ask(&served.url(), executor("exe_one")).await.unwrap();
    for stream in &mut stalled {
        let mut buffer = [0; 64];
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut buffer));
        // An end or a reset: either way nobody waits for it any more.
        let _how = closed.await.expect("it is closed");
    }
    control.ask(&served.url(), executor("exe_one")).await.unwrap();
}
