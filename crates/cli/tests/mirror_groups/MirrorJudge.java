import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.connect.mirror.MirrorClient;
import org.apache.kafka.connect.mirror.RemoteClusterUtils;

/** Prints what MirrorMaker's own clients see of a link: arguments are the target's bootstrap, the source's alias, groups. */
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
        for (int i = 2; i < arguments.length; i++) {
            Map<TopicPartition, OffsetAndMetadata> offsets =
                RemoteClusterUtils.translateOffsets(properties, source, arguments[i], Duration.ofSeconds(20));
            Map<String, String> sorted = new TreeMap<>();
            offsets.forEach((partition, at) -> sorted.put(partition.toString(), at.offset() + at.metadata()));
            System.out.println("group " + arguments[i] + " " + sorted);
        }
    }
}
