import java.io.FileInputStream;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.connect.mirror.MirrorMaker;
import org.apache.kafka.connect.mirror.MirrorMakerConfig;
import org.apache.kafka.connect.mirror.SourceAndTarget;

/** Prints what MirrorMaker makes of a file: part, flow, name and value of each setting, by tabs. */
public class MirrorMakerFile {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileInputStream file = new FileInputStream(args[0])) {
            properties.load(file);
        }
        Map<String, String> pairs = new HashMap<>();
        properties.forEach((name, value) -> pairs.put(name.toString(), value.toString()));
        MirrorMakerConfig config = new MirrorMakerConfig(pairs);
        for (SourceAndTarget flow : config.clusterPairs()) {
            print("worker", flow, config.workerConfig(flow));
            for (Class<?> connector : MirrorMaker.CONNECTOR_CLASSES) {
                print(connector.getSimpleName(), flow, config.connectorBaseConfig(flow, connector));
            }
        }
    }

    private static void print(String part, SourceAndTarget flow, Map<String, String> settings) {
        new TreeMap<>(settings).forEach((name, value) ->
            System.out.println("setting\t" + part + "\t" + flow + "\t" + name + "\t" + value));
    }
}
