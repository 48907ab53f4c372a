//! Claims about ports and their holders.

use super::*;
use crate::arguments::Quickstart;

const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2384 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 111 1 0 20 4 30 10 -1
   1: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
";

#[test]
fn listening_socket_is_found_by_port_and_state() {
    assert_eq!(listening_inode(TABLE, 9092), Some("222".to_owned()));
    assert_eq!(listening_inode(TABLE, 9093), None);
    assert_eq!(listening_inode("", 9092), None);
}

#[cfg(target_os = "linux")]
#[test]
fn port_in_use_is_named_with_its_holder_and_the_flag_that_moves_it() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = holder.local_addr().unwrap().port();
    let options = Quickstart { data_dir: "x".into(), port_base: port, search: None, brokers: 1, once: true };
    let text = check(&Plan::new(&options).unwrap()).unwrap_err().text();
    assert!(text.contains(&format!("port {port}, meant for upstream-1, is in use by ")), "{text}");
    assert!(text.contains(&std::process::id().to_string()) && text.contains("--port-base"), "{text}");
}
