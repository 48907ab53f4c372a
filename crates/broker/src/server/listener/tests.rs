use super::*;

fn bounds(max: usize, per_ip_max: usize) -> ConnectionBounds {
    ConnectionBounds { max, per_ip_max, per_ip_overrides: HashMap::new(), rate_max: i32::MAX as u32 }
}

fn limits(total: usize, per_ip: usize) -> Arc<ConnectionLimits> {
    Arc::new(ConnectionLimits::new(bounds(total, per_ip)))
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

#[test]
fn a_closed_connection_gives_its_place_back() {
    let limits = limits(1, 10);
    let admission = limits.admit(HERE).ok();
    assert_eq!(limits.admit(THERE).err(), Some(Refusal::Total(1)));
    drop(admission);
    assert!(limits.admit(THERE).is_ok());
    assert_eq!(limits.total.load(Ordering::Relaxed), 0);
}

#[test]
fn limits_change_while_connections_are_open() {
    let limits = limits(5, 5);
    let _held = (limits.admit(HERE).ok(), limits.admit(HERE).ok());
    limits.set(bounds(2, 5));
    assert_eq!(limits.admit(THERE).err(), Some(Refusal::Total(2)));
    limits.set(bounds(3, 1));
    assert_eq!(limits.admit(HERE).err(), Some(Refusal::PerIp { ip: HERE, limit: 1 }));
    assert!(limits.admit(THERE).is_ok());
}

#[test]
fn one_address_cannot_take_the_places_of_others() {
    let limits = limits(10, 1);
    let _held = limits.admit(HERE).ok();
    assert_eq!(limits.admit(HERE).err(), Some(Refusal::PerIp { ip: HERE, limit: 1 }));
    assert!(limits.admit(THERE).is_ok());
}

#[test]
fn an_override_lifts_the_limit_of_its_address() {
    let limits = limits(10, 0);
    limits.set(ConnectionBounds { per_ip_overrides: HashMap::from([(HERE, 2)]), ..bounds(10, 0) });
    let _held = (limits.admit(HERE).ok(), limits.admit(HERE).ok());
    assert!(limits.admit(HERE).is_err());
    assert!(limits.admit(THERE).is_err());
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_the_same_address() {
    let limits = limits(10, 1);
    let _held = limits.admit("::ffff:10.0.0.1".parse().unwrap()).ok();
    assert!(limits.admit(HERE).is_err());
}

#[tokio::test]
async fn connections_are_kept_alive_and_answers_are_not_held_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    prepare(&stream).unwrap();
    assert!(stream.nodelay().unwrap() && rustix::net::sockopt::socket_keepalive(&stream).unwrap());
}
