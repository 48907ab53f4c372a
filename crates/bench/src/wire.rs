//! Requests over a plain socket: bytes that are made once and sent again and again, so that the client costs little more
//! than two system calls for a request.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use twinstream_client::protocol::batch::BatchBuilder;
use twinstream_client::protocol::frame::{RequestHeader, encode_request_header};
use twinstream_client::protocol::kafka_protocol::messages::ProduceRequest;
use twinstream_client::protocol::kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use twinstream_client::protocol::kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use twinstream_model::{ErrorCode, PartitionIndex, TopicName};

/// The first version with a flexible layout; later ones say nothing more that matters here, and it takes topics by name.
const PRODUCE_VERSION: i16 = 9;
const PRODUCE_TIMEOUT_MS: i32 = 30_000;
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// An answer to one produce request has some 60 bytes, one about 15,000 groups less than 1 MB.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// The time for records that are made now.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// One produce request with one batch, ready to be sent.
pub fn produce_frame(
    topic: &TopicName,
    partition: PartitionIndex,
    acks: i16,
    payloads: &[&[u8]],
    timestamp: i64,
) -> Result<Vec<u8>> {
    let mut batch = BatchBuilder::new();
    for payload in payloads {
        batch.append(timestamp, None, Some(payload), []);
    }
    let data = PartitionProduceData::default().with_index(partition.0).with_records(Some(Bytes::from(batch.build()?)));
    let name = StrBytes::from_string(topic.as_str().to_owned());
    let topic = TopicProduceData::default().with_name(name.into()).with_partition_data(vec![data]);
    let request =
        ProduceRequest::default().with_acks(acks).with_timeout_ms(PRODUCE_TIMEOUT_MS).with_topic_data(vec![topic]);
    frame(&request, PRODUCE_VERSION)
}

/// A request, ready to be sent.
pub fn frame<R: Request + Encodable>(request: &R, version: i16) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let client_id = Some("load".to_owned());
    let header = RequestHeader { api_key: R::KEY, api_version: version, correlation_id: 1, client_id };
    encode_request_header(&mut head, &header)?;
    let mut body = BytesMut::new();
    request.encode(&mut body, version)?;
    let mut frame = BytesMut::with_capacity(4 + head.len() + body.len());
    frame.put_i32(i32::try_from(head.len() + body.len()).context("a frame is smaller than 2 GiB")?);
    frame.extend_from_slice(&head);
    frame.extend_from_slice(&body);
    Ok(frame.to_vec())
}

/// A produce request was answered with an error code.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("produce to partition {partition}: {}", ErrorCode::from_code(*code).map_or("an unknown error code", ErrorCode::name))]
pub struct Refused {
    pub partition: i32,
    pub code: i16,
}

/// A connection that has one request in flight at a time.
pub struct Wire {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Wire {
    pub fn connect(address: &str, within: Duration) -> io::Result<Self> {
        let address: SocketAddr = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
        let stream = TcpStream::connect_timeout(&address, within)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream, answer: vec![0; 512] })
    }

    /// Sends a produce request again and again until it is acknowledged: a partition that has just come into being may
    /// not have a leader yet, and a broker that starts does not listen yet. How it failed last, when time is up.
    pub fn until_acknowledged(address: &str, frame: &[u8], pause: Duration, within: Duration) -> Result<Self> {
        Self::until_acknowledged_on(None, address, frame, pause, within)
    }

    /// As [`Self::until_acknowledged`], on a connection that is open already.
    pub fn until_acknowledged_on(
        mut open: Option<Self>,
        address: &str,
        frame: &[u8],
        pause: Duration,
        within: Duration,
    ) -> Result<Self> {
        let deadline = Instant::now() + within;
        loop {
            let failed = match Self::try_produce(&mut open, address, frame) {
                Ok(()) => match open.take() {
                    Some(wire) => return Ok(wire),
                    None => continue,
                },
                Err(error) => error,
            };
            if failed.downcast_ref::<Refused>().is_none() {
                open = None; // a connection that failed is not used again
            }
            if Instant::now() >= deadline {
                return Err(failed.context(format!("no acknowledgement from {address} within {within:?}")));
            }
            std::thread::sleep(pause);
        }
    }

    fn try_produce(open: &mut Option<Self>, address: &str, frame: &[u8]) -> Result<()> {
        let wire = match open {
            Some(wire) => wire,
            None => open.insert(Self::connect(address, ANSWER_WITHIN)?),
        };
        wire.send(frame)?;
        wire.produced()
    }

    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.stream.write_all(frame)
    }

    /// Waits for the answer to a produce request; an error code in it is a [`Refused`].
    pub fn produced(&mut self) -> Result<()> {
        let answer = self.answer::<ProduceRequest>(PRODUCE_VERSION)?;
        for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
            if partition.error_code != 0 {
                return Err(Refused { partition: partition.index, code: partition.error_code }.into());
            }
        }
        Ok(())
    }

    /// Waits for the answer to a request.
    pub fn answer<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let size = self.receive()?;
        // The length, the correlation id, and in flexible versions the header's empty list of tagged fields.
        let head = 4 + 4 + usize::from(R::Response::header_version(version) >= 1);
        let mut body = Bytes::copy_from_slice(self.answer.get(head..4 + size).context("an answer is too short")?);
        R::Response::decode(&mut body, version)
    }

    /// Reads one whole answer, usually with one system call; its size without the length in front.
    fn receive(&mut self) -> Result<usize> {
        let mut got = 0;
        loop {
            let size = (got >= 4).then(|| i32::from_be_bytes([0, 1, 2, 3].map(|index: usize| self.answer[index])));
            if let Some(size) = size {
                let size = usize::try_from(size).context("an answer with a negative size")?;
                if size > ANSWER_BYTES_MAX {
                    bail!("an answer of {size} bytes");
                }
                if got == 4 + size {
                    return Ok(size);
                }
                if got > 4 + size {
                    bail!("more than one answer to one request");
                }
                if self.answer.len() < 4 + size {
                    self.answer.resize(4 + size, 0);
                }
            }
            match self.stream.read(&mut self.answer[got..])? {
                0 => bail!("the broker closed the connection"),
                count => got += count,
            }
        }
    }
}
