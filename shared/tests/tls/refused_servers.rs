//! A caller and servers that it must say nothing to.

use dynamic_mcp_shared::tls::{Identity, Role};
use tokio::net::TcpListener;

use super::rig::{HOST, Side, authority, executor, expired, good, not_yet_good};

/// What the control plane is told when it wants executor one and this is what answers.
async fn told(server: &Side, control: &Side) -> String {
    let served = server.serve(Role::ControlPlane).await;
    control.ask(&served.url(), executor("exe_one")).await.unwrap_err()
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ca, other) = (authority(), authority());
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let impostor = Side::new(&other, &good(executor("exe_one")));
    let said = told(&impostor, &control).await;
    assert!(said.contains("of no authority in MCP_TLS_CA_FILE"), "{said}");
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_good_now_is_refused() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let late = Side::new(&ca, &expired(executor("exe_one")));
    let said = told(&late, &control).await;
    assert!(said.contains("its certificate has expired"), "{said}");
    let early = Side::new(&ca, &not_yet_good(executor("exe_one")));
    let said = told(&early, &control).await;
    assert!(said.contains("not good yet"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_refused() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let two = Side::new(&ca, &good(executor("exe_two")));
    let said = told(&two, &control).await;
    assert!(
        said.contains("executor exe_two answers there, not executor exe_one"),
        "{said}"
    );
    let said = told(&control, &control).await;
    assert!(
        said.contains("the control plane answers there, not executor exe_one"),
        "{said}"
    );

    let served = two.serve(Role::Executor).await;
    let said = two.ask(&served.url(), Identity::ControlPlane).await.unwrap_err();
    assert!(
        said.contains("executor exe_two answers there, not the control plane"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_is_refused_at_an_address_that_its_certificate_does_not_name() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let elsewhere = dynamic_mcp_shared::tls::authority::Request {
        hosts: vec!["localhost".to_owned(), "10.9.8.7".to_owned()],
        ..good(executor("exe_one"))
    };
    let one = Side::new(&ca, &elsewhere);
    let said = told(&one, &control).await;
    assert!(
        said.contains("not valid for name") && said.contains("10.9.8.7"),
        "{said}"
    );
    let served = one.serve(Role::ControlPlane).await;
    let by_name = format!("https://localhost:{}", served.address.port());
    control.ask(&by_name, executor("exe_one")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart_from_none_at_all() {
    let ca = authority();
    let control = Side::new(&ca, &good(Identity::ControlPlane));
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let plain = async {
        use tokio::io::AsyncWriteExt as _;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let (answer, _open) = tokio::join!(control.ask(&url, executor("exe_one")), plain);
    let said = answer.unwrap_err();
    assert!(said.contains("does not speak TLS"), "{said}");
    drop(listener);
    let said = control.ask(&url, executor("exe_one")).await.unwrap_err();
    assert!(said.contains("can't be reached"), "{said}");
}
