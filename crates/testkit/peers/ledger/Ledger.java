import java.io.IOException;
import java.io.PrintStream;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;

/**
 * Clients that keep books, by Kafka's own client: the roles of ledger.py, which tells what each of them does and prints,
 * and `settle BOOTSTRAP SECONDS [TOPIC...]`.
 *
 * `settle` waits until no partition of these topics, or of any topic, has an open transaction: the last stable offset, as a question for
 * committed records is answered, is the high watermark. It prints `settled MS`, or `open TOPIC-PARTITION STABLE END` for
 * what is left after so many seconds.
 */
public final class Ledger {
    private static final int RECORDS = 10;
    private static final int ABORTS_EVERY = 5;
    private static final long PATIENCE_MS = 150_000;
    /** Between two transactions of a writer, and between two commits. */
    private static final long PAUSE_MS = 30;
    private static final long COMMIT_PAUSE_MS = 20;
    /** Records of a transaction that transforms. */
    private static final int GATHERS = 50;
    /** What rests was higher before. */
    private static final long HIGHER = 1000;

    private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), false);

    private interface Role {
        void run(String id) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        Thread flusher = new Thread(Ledger::flushOften);
        flusher.setDaemon(true);
        flusher.start();
        String[] rest = Arrays.copyOfRange(arguments, 1, arguments.length);
        switch (arguments[0]) {
            case "write" -> inThreads(rest, 3, id -> write(rest[0], rest[1], rest[2], id));
            case "transform" -> inThreads(rest, 6, id -> new Transformer(rest, id).run());
            case "commit" -> inThreads(rest, 5, id -> new Committer(rest, id).run());
            case "read" -> read(rest[0], rest[1], rest[2], rest[3]);
            case "settle" -> settle(rest[0], Long.parseLong(rest[1]) * 1000, Arrays.copyOfRange(rest, 2, rest.length));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        say("end");
        OUT.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void inThreads(String[] arguments, int from, Role role) throws Exception {
        ConcurrentLinkedQueue<String> failures = new ConcurrentLinkedQueue<>();
        List<Thread> threads = new ArrayList<>();
        for (String id : Arrays.copyOfRange(arguments, from, arguments.length)) {
            threads.add(new Thread(() -> {
                try {
                    role.run(id);
                } catch (Throwable error) {
                    failures.add(id + ": " + error);
                }
            }));
        }
        for (Thread thread : threads) {
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (!failures.isEmpty()) {
            failures.forEach(failure -> say("#", failure));
            OUT.flush();
            Runtime.getRuntime().halt(1);
        }
    }

    private static void flushOften() {
        while (true) {
            pause(100);
            OUT.flush();
        }
    }

    private static void say(Object... words) {
        String line = Arrays.stream(words).map(String::valueOf).collect(Collectors.joining(" ")).replace('\n', ' ');
        synchronized (OUT) {
            OUT.print(line + "\n");
        }
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private static boolean isThere(String file) {
        return Files.exists(Path.of(file));
    }

    /** The number in a file, 0 if it is not there. */
    private static int numberIn(String file) {
        try {
            return Integer.parseInt(Files.readString(Path.of(file)).strip());
        } catch (NoSuchFileException error) {
            return 0;
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static Properties quick(String bootstrap) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("retry.backoff.ms", "20");
        settings.put("reconnect.backoff.ms", "20");
        settings.put("reconnect.backoff.max.ms", "500");
        for (String side : List.of("key", "value")) {
            settings.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
            settings.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
        }
        return settings;
    }

    private static KafkaProducer<String, String> openProducer(String bootstrap, String id) {
        Properties settings = quick(bootstrap);
        settings.put("transactional.id", id);
        settings.put("transaction.timeout.ms", "20000");
        settings.put("max.block.ms", "60000");
        long deadline = System.currentTimeMillis() + PATIENCE_MS;
        while (true) {
            KafkaProducer<String, String> producer = new KafkaProducer<>(settings);
            try {
                producer.initTransactions();
                return producer;
            } catch (KafkaException error) {
                say("#", id, "init:", error);
                producer.close(Duration.ZERO);
                if (System.currentTimeMillis() > deadline) {
                    throw error;
                }
            }
        }
    }

    /** Whether the transaction was aborted; otherwise nobody knows its end, and the producer is of no use. */
    private static boolean aborts(KafkaProducer<String, String> producer, String what, Exception error) {
        say("#", what, error);
        try {
            producer.abortTransaction();
            return true;
        } catch (RuntimeException failed) {
            say("#", what, "abort:", failed);
            producer.close(Duration.ZERO);
            return false;
        }
    }

    private static void write(String bootstrap, String topic, String stop, String id) {
        KafkaProducer<String, String> producer = openProducer(bootstrap, id);
        int partitions = producer.partitionsFor(topic).size();
        for (int count = 1; !isThere(stop); count++) {
            String key = id + ":" + count;
            String outcome = count % ABORTS_EVERY == 0 ? "aborted" : "committed";
            boolean commits = outcome.equals("committed");
            boolean ending = false;
            try {
                producer.beginTransaction();
                for (int value = 0; value < RECORDS; value++) {
                    producer.send(new ProducerRecord<>(topic, value % partitions, key, String.valueOf(value)));
                }
                // Without this, a client that aborts drops what it has not sent, and nothing of it would be in the logs.
                producer.flush();
                if (commits) {
                    ending = true;
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            } catch (RuntimeException error) {
                // Once the commit is under way, an abort that succeeds does not tell how it ended.
                boolean aborted = aborts(producer, key, error);
                outcome = aborted && !ending ? "aborted" : "unknown";
                if (!aborted) {
                    producer = openProducer(bootstrap, id);
                }
            }
            say("told", outcome, key, RECORDS);
            pause(PAUSE_MS);
        }
        producer.close(Duration.ZERO);
        // Whatever the last producer left open is ended by its successor.
        openProducer(bootstrap, id).close(Duration.ofSeconds(5));
    }

    private static void read(String bootstrap, String topic, String isolation, String stop) {
        Properties settings = quick(bootstrap);
        settings.put("isolation.level", isolation);
        settings.put("auto.offset.reset", "none");
        settings.put("enable.auto.commit", "false");
        try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(info -> new TopicPartition(topic, info.partition())).toList();
            consumer.assign(partitions);
            partitions.forEach(partition -> consumer.seek(partition, 0));
            Map<TopicPartition, Long> ends = null;
            long deadline = Long.MAX_VALUE;
            while (ends == null || ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                if (ends == null && isThere(stop)) {
                    ends = consumer.endOffsets(partitions);
                    deadline = System.currentTimeMillis() + PATIENCE_MS;
                }
                if (System.currentTimeMillis() > deadline) {
                    throw new IllegalStateException("a reader of " + isolation + " records does not get to " + ends);
                }
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    TopicPartition at = new TopicPartition(topic, record.partition());
                    if (ends == null || record.offset() < ends.get(at)) {
                        String key = record.key() == null ? "-" : record.key();
                        say("saw", record.partition(), record.offset(), key, record.value());
                    }
                }
            }
        }
    }

    /** A member of a group that copies what is committed, in transactions that have the group's offsets. */
    private static final class Transformer {
        private final String bootstrap;
        private final String source;
        private final String target;
        private final String stop;
        private final String id;
        private final KafkaConsumer<String, String> consumer;
        private KafkaProducer<String, String> producer;

        Transformer(String[] arguments, String id) {
            this.bootstrap = arguments[0];
            this.source = arguments[1];
            this.target = arguments[2];
            this.stop = arguments[3];
            this.id = id;
            this.producer = openProducer(bootstrap, id);
            Properties settings = quick(bootstrap);
            settings.put("group.id", arguments[4]);
            settings.put("group.protocol", arguments[5]);
            settings.put("isolation.level", "read_committed");
            settings.put("auto.offset.reset", "earliest");
            settings.put("enable.auto.commit", "false");
            settings.put("max.poll.records", String.valueOf(GATHERS));
            if (arguments[5].equals("classic")) {
                settings.put("session.timeout.ms", "10000");
                settings.put("heartbeat.interval.ms", "500");
            }
            this.consumer = new KafkaConsumer<>(settings);
        }

        void run() {
            consumer.subscribe(List.of(source));
            long copied = 0;
            long idleSince = Long.MAX_VALUE;
            long deadline = Long.MAX_VALUE;
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                if (!records.isEmpty()) {
                    idleSince = Long.MAX_VALUE;
                    if (transform(records)) {
                        copied += records.count();
                    } else {
                        rewind();
                    }
                } else if (isThere(stop)) {
                    long now = System.currentTimeMillis();
                    deadline = Math.min(deadline, now + PATIENCE_MS);
                    idleSince = Math.min(idleSince, now);
                    // A while of rest, so that a partition that is on its way to this member arrives.
                    if (now > idleSince + 2000 && atEnd()) {
                        break;
                    }
                    if (now > deadline) {
                        throw new IllegalStateException("does not get to the end of " + consumer.assignment());
                    }
                }
            }
            say("#", id, "copied", copied);
            producer.close(Duration.ofSeconds(5));
            consumer.close();
        }

        private boolean transform(ConsumerRecords<String, String> records) {
            try {
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (ConsumerRecord<String, String> record : records) {
                    producer.send(new ProducerRecord<>(target, record.partition(), record.key(), record.value()));
                    TopicPartition at = new TopicPartition(source, record.partition());
                    offsets.put(at, new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                producer.commitTransaction();
                return true;
            } catch (RuntimeException error) {
                if (!aborts(producer, id, error)) {
                    producer = openProducer(bootstrap, id);
                }
                return false;
            }
        }

        private void rewind() {
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(consumer.assignment());
            for (TopicPartition partition : consumer.assignment()) {
                OffsetAndMetadata known = committed.get(partition);
                consumer.seek(partition, known == null ? 0 : known.offset());
            }
        }

        private boolean atEnd() {
            Map<TopicPartition, Long> ends = consumer.endOffsets(consumer.assignment());
            return ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue());
        }
    }

    /** Commits one offset after the other. */
    private static final class Committer implements ConsumerRebalanceListener {
        private final String topic;
        private final String stop;
        private final String group;
        private final boolean isMember;
        private final boolean isFirst;
        private final boolean isLast;
        private final String id;
        private final Properties settings;
        private final Map<TopicPartition, Long> next = new HashMap<>();
        private KafkaConsumer<String, String> consumer;
        private int rested;
        private int joined;

        Committer(String[] arguments, String id) {
            this.topic = arguments[1];
            this.stop = arguments[2];
            this.group = arguments[3];
            this.isMember = !arguments[4].equals("simple");
            this.isFirst = id.equals(arguments[5]);
            this.isLast = id.equals(arguments[arguments.length - 1]);
            this.id = id;
            this.settings = quick(arguments[0]);
            settings.put("group.id", group);
            settings.put("enable.auto.commit", "false");
            settings.put("auto.offset.reset", "latest");
            if (isMember) {
                settings.put("group.protocol", arguments[4]);
            }
            join();
        }

        private void join() {
            consumer = new KafkaConsumer<>(settings);
            if (isMember) {
                consumer.subscribe(List.of(topic), this);
            }
        }

        private void joinAgain() {
            int number = numberIn(stop + "-again");
            if (isLast && number > joined) {
                consumer.close();
                next.clear();
                joined = number;
                join();
            }
        }

        private void rest() {
            int number = numberIn(stop + "-rest");
            if (isFirst && number > rested) {
                TopicPartition at = new TopicPartition(topic + "-rest", number);
                String metadata = id + ":rest-" + number;
                if (commit(Map.of(at, number + HIGHER), metadata) && commit(Map.of(at, (long) number), metadata)) {
                    rested = number;
                }
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            consumer.pause(partitions);
            long began = System.currentTimeMillis();
            Map<TopicPartition, OffsetAndMetadata> committed = consumer.committed(Set.copyOf(partitions));
            for (TopicPartition partition : partitions) {
                OffsetAndMetadata known = committed.get(partition);
                long offset = known == null ? 0 : known.offset();
                say("given", group, partition.partition(), offset, id + ":" + joined, began, System.currentTimeMillis());
                next.put(partition, offset);
            }
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(next::remove);
        }

        void run() {
            if (!isMember) {
                int partitions = consumer.partitionsFor(topic).size();
                IntStream.range(0, partitions).forEach(partition -> next.put(new TopicPartition(topic, partition), 0L));
            }
            for (int number = 1; !isThere(stop); number++) {
                if (isMember) {
                    joinAgain();
                    consumer.poll(Duration.ofMillis(COMMIT_PAUSE_MS));
                }
                pause(COMMIT_PAUSE_MS);
                if (!next.isEmpty()) {
                    // A commit without an answer may have got through: its offset is not used again.
                    next.replaceAll((partition, offset) -> offset + 1);
                    commit(Map.copyOf(next), id + ":" + number);
                    rest();
                }
            }
            consumer.close();
        }

        /** Whether these offsets were acknowledged. */
        private boolean commit(Map<TopicPartition, Long> tried, String metadata) {
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            tried.forEach((partition, offset) -> offsets.put(partition, new OffsetAndMetadata(offset, metadata)));
            long began = System.currentTimeMillis();
            String outcome = "acked";
            try {
                consumer.commitSync(offsets);
            } catch (KafkaException error) {
                say("#", group, id, error);
                outcome = "failed";
            }
            long ended = System.currentTimeMillis();
            for (Map.Entry<TopicPartition, OffsetAndMetadata> entry : offsets.entrySet()) {
                say(outcome, group, entry.getKey().partition(), entry.getValue().offset(), metadata, began, ended);
            }
            return outcome.equals("acked");
        }
    }

    private static void settle(String bootstrap, long ms, String[] only) throws Exception {
        long began = System.currentTimeMillis();
        try (Admin admin = Admin.create(quick(bootstrap))) {
            while (true) {
                Map<TopicPartition, long[]> open = new TreeMap<>((one, other) -> one.toString().compareTo(other.toString()));
                String trouble = "";
                try {
                    open.putAll(open(admin, only));
                } catch (java.util.concurrent.ExecutionException error) {
                    trouble = String.valueOf(error.getCause());
                }
                long took = System.currentTimeMillis() - began;
                if (open.isEmpty() && trouble.isEmpty()) {
                    say("settled", took);
                    return;
                }
                if (took > ms) {
                    open.forEach((partition, ends) -> say("open", partition, ends[0], ends[1]));
                    say("#", trouble);
                    return;
                }
                pause(100);
            }
        }
    }

    /** The partitions with their last stable offset and their high watermark, where these differ. */
    private static Map<TopicPartition, long[]> open(Admin admin, String[] only) throws Exception {
        Set<String> topics = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        if (only.length > 0) {
            topics = Set.of(only);
        }
        Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
        admin.describeTopics(topics).allTopicNames().get().values().forEach(topic -> topic.partitions().forEach(
            partition -> wanted.put(new TopicPartition(topic.name(), partition.partition()), OffsetSpec.latest())));
        var stable = admin.listOffsets(wanted, new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all().get();
        var ends = admin.listOffsets(wanted, new ListOffsetsOptions(IsolationLevel.READ_UNCOMMITTED)).all().get();
        Map<TopicPartition, long[]> open = new HashMap<>();
        for (TopicPartition partition : wanted.keySet()) {
            long[] both = {stable.get(partition).offset(), ends.get(partition).offset()};
            if (both[0] != both[1]) {
                open.put(partition, both);
            }
        }
        return open;
    }
}
