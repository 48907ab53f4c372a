mod admin; // describe, list
mod context; // a shard, its log, its clock and those who carry out its effects
mod ending; // claims about ends of transactions, both protocols
mod expiry; // claims about time
mod init; // claims about who is the producer
mod model; // random histories against partitions that remember what became of each record
