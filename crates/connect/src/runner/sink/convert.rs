//! Consumed bytes to sink records; what does not convert goes the way of the error policy.

use std::sync::Arc;

use twinstream_client::{ConsumerRecord, TimestampType as ClientTimestampType};
use twinstream_connect_api::{OriginalRecord, SchemaAndValue, SinkRecord, TaskError, TimestampType};

use super::Delivery;
use crate::converters::{ConvertError, Converter, HeaderConverter, Part};
use crate::plugins::task_converters;
use crate::runner::errors::{BadRecord, ErrorPolicy, Stage};
use crate::runner::{Shared, TaskSpec};

pub(super) struct Conversion {
    key: Converter,
    value: Converter,
    header: HeaderConverter,
    classes: [String; 2],
    policy: Arc<ErrorPolicy>,
}

impl Conversion {
    pub(super) fn new(shared: &Shared, spec: &TaskSpec, policy: Arc<ErrorPolicy>) -> Result<Self, TaskError> {
        let (config, key, value, header) = task_converters(&shared.settings, &spec.connector)?;
        let class = |part: Part| config.get(part.setting()).cloned().unwrap_or_default();
        Ok(Self { key, value, header, classes: [class(Part::Key), class(Part::Value)], policy })
    }

    /// Converts in order; the ends cover records that were left out as well.
    pub(super) async fn convert(&self, records: Vec<ConsumerRecord>) -> Result<Delivery, TaskError> {
        let mut delivery = Delivery::default();
        for record in records {
            let end = (record.topic_partition(), record.offset.next());
            if let Some(converted) = self.convert_one(record).await? {
                delivery.records.push(Arc::new(converted));
            }
            delivery.ends.insert(end.0, end.1);
        }
        Ok(delivery)
    }

    async fn convert_one(&self, record: ConsumerRecord) -> Result<Option<SinkRecord>, TaskError> {
        let key = self.policy.retrying(|| self.key.decode(record.key.as_ref())).await;
        let value = match &key {
            Ok(_) => self.policy.retrying(|| self.value.decode(record.value.as_ref())).await,
            Err(_) => Ok(SchemaAndValue::null()),
        };
        let origin = Some((record.topic_partition(), record.offset, record.timestamp));
        let headers = record.headers.into_iter().map(|header| (header.key, header.value)).collect();
        let original = OriginalRecord { key: record.key, value: record.value, headers };
        let (stage, class, error) = match (key, value) {
            (Ok(key), Ok(value)) => {
                let timestamp_type = match record.timestamp_type {
                    ClientTimestampType::Create => TimestampType::CreateTime,
                    ClientTimestampType::LogAppend => TimestampType::LogAppendTime,
                };
                return Ok(Some(SinkRecord {
                    topic: record.topic,
                    partition: record.partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    timestamp_type,
                    key,
                    value,
                    headers: self.header.to_headers(&original.headers),
                    original,
                }));
            }
            (Err(error), _) => (Stage::KeyConverter, &self.classes[0], error),
            (_, Err(error)) => (Stage::ValueConverter, &self.classes[1], error),
        };
        let error = task_error(error);
        self.policy.bad_record(BadRecord { stage, class, origin, original: &original, error }).await?;
        Ok(None)
    }
}

fn task_error(error: ConvertError) -> TaskError {
    let converted =
        if error.retriable { TaskError::retriable(&error.message) } else { TaskError::fatal(&error.message) };
    match error.source {
        Some(source) => converted.caused_by(source),
        None => converted,
    }
}
