use super::{busy_of, cpu_of, cpu_seconds, memory, open_files, own_threads, status_bytes};

#[test]
fn processor_time_is_user_and_system_whatever_the_name_holds() {
    let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 7 8 20 0 1 0 100 0 0";
    assert_eq!(cpu_of(stat), Some(3.0));
    assert_eq!(cpu_of("nonsense"), None);
}

#[test]
fn waiting_for_a_disk_is_not_busy() {
    assert_eq!(busy_of("cpu  100 0 200 5000 9000 50 50 70 0 0\ncpu0 1"), Some(4.0));
    assert_eq!(busy_of("cpu  1 2 3"), None);
}

#[test]
fn status_lines_are_kilobytes() {
    assert_eq!(status_bytes("Name:\tx\nVmHWM:\t  12 kB\nVmRSS:\t 10 kB\n", "VmRSS:"), Some(10 * 1024));
}

#[test]
fn this_process_has_a_thread_memory_and_files() {
    let own = std::process::id();
    assert!(cpu_seconds(own).is_some() && !own_threads().is_empty());
    assert!(memory(own).is_some_and(|memory| memory.peak >= memory.resident && memory.resident > 0));
    assert!(open_files(own).is_some_and(|files| files > 0));
}

#[test]
fn a_process_that_is_gone_has_nothing() {
    assert_eq!((cpu_seconds(u32::MAX), memory(u32::MAX), open_files(u32::MAX)), (None, None, None));
}
