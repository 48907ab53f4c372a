use super::*;

fn listener(port: u16) -> Listener {
    Listener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port, is_controller: false }
}

#[tokio::test]
async fn a_port_in_use_names_the_listener_and_the_setting() {
    let first = bind_all(&[listener(0)], 5).await.unwrap();
    let error = bind_all(&[listener(first[0].port)], 5).await.err().expect("the port is taken");
    let text = error.to_string();
    assert!(text.contains(&format!("PLAINTEXT://127.0.0.1:{}", first[0].port)) && text.contains("listeners"), "{text}");
}

#[tokio::test]
async fn a_port_that_the_system_chose_is_advertised() {
    let bound = bind_all(&[listener(0)], 5).await.unwrap();
    let told = AdvertisedListener { name: "PLAINTEXT".into(), host: "127.0.0.1".into(), port: 0 };
    let fixed = AdvertisedListener { port: 7, ..told.clone() };
    let advertised = with_bound_ports(vec![told, fixed], &bound);
    assert_eq!(advertised[0].port, bound[0].port);
    assert_eq!(advertised[1].port, 7);
}

#[tokio::test]
async fn an_empty_host_is_reached_over_ipv4() {
    let everywhere = Listener { host: String::new(), ..listener(0) };
    let bound = bind_all(&[everywhere], 5).await.unwrap();
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", bound[0].port)).await.is_ok());
}
