import java.lang.reflect.Method;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.connect.mirror.MirrorClient;
import org.apache.kafka.connect.mirror.OffsetSync;
import org.apache.kafka.connect.mirror.RemoteClusterUtils;

/**
 * Prints what MirrorMaker's own clients see of a link: arguments are the target's bootstrap, the source's alias, bootstrap and
 * topic of the offset-syncs, groups.
 */
public class MirrorJudge {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> properties = Map.of("bootstrap.servers", arguments[0]);
        String source = arguments[1];
        try (MirrorClient client = new MirrorClient(properties)) {
            System.out.println("heartbeats " + client.heartbeatTopics());
            System.out.println("checkpoints " + client.checkpointTopics());
            System.out.println("upstream " + client.upstreamClusters());
            System.out.println("hops " + client.replicationHops(source));
            System.out.println("remote " + client.remoteTopics(source));
        }
        System.out.println("syncs " + syncs(arguments[2], arguments[3]));
        for (int i = 4; i < arguments.length; i++) {
            Map<TopicPartition, OffsetAndMetadata> offsets =
                RemoteClusterUtils.translateOffsets(properties, source, arguments[i], Duration.ofSeconds(20));
            Map<String, String> sorted = new TreeMap<>();
            offsets.forEach((partition, at) -> sorted.put(partition.toString(), at.offset() + at.metadata()));
            System.out.println("group " + arguments[i] + " " + sorted);
        }
    }

    /** The last offset-sync of each partition, as MirrorMaker reads it: upstream and downstream. */
    static Map<String, String> syncs(String bootstrap, String topic) throws Exception {
        Method read = OffsetSync.class.getDeclaredMethod("deserializeRecord", ConsumerRecord.class);
        read.setAccessible(true);
        Map<String, String> last = new TreeMap<>();
        TopicPartition partition = new TopicPartition(topic, 0);
        Map<String, Object> properties = Map.of("bootstrap.servers", bootstrap);
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            while (consumer.position(partition) < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    OffsetSync sync = (OffsetSync) read.invoke(null, record);
                    last.put(sync.topicPartition().toString(), sync.upstreamOffset() + ":" + sync.downstreamOffset());
                }
            }
        }
        return last;
    }
}
