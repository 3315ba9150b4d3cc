import java.net.ServerSocket;
import java.nio.file.Path;
import java.time.Duration;
import org.neo4j.configuration.GraphDatabaseSettings;
import org.neo4j.configuration.connectors.BoltConnector;
import org.neo4j.configuration.helpers.SocketAddress;
import org.neo4j.dbms.api.DatabaseManagementServiceBuilder;
import org.neo4j.io.ByteUnit;

/**
 * A Neo4j on loopback for as long as standard input stays open, so that it can't outlive whoever started it.
 * Run as a source file: {@code java Launcher.java HOME [PORT]}. Prints {@code ready PORT} once Bolt answers there.
 */
public class Launcher {

    public static void main(String[] arguments) throws Exception {
        var address = new SocketAddress("127.0.0.1", arguments.length > 1 ? Integer.parseInt(arguments[1]) : freePort());
        var neo4j = new DatabaseManagementServiceBuilder(Path.of(arguments[0]))
                .setConfig(BoltConnector.enabled, true)
                .setConfig(BoltConnector.listen_address, address)
                .setConfig(BoltConnector.advertised_address, address)
                .setConfig(GraphDatabaseSettings.auth_enabled, true)
                .setConfig(GraphDatabaseSettings.pagecache_memory, ByteUnit.mebiBytes(128))
                .setConfig(GraphDatabaseSettings.preallocate_logical_logs, false);
        if (Boolean.getBoolean("keep.plans")) {
            neo4j.setConfig(GraphDatabaseSettings.cypher_min_replan_interval, Duration.ofHours(2));
        }
        neo4j.build();
        System.out.println("ready " + address.getPort());
        while (System.in.read() >= 0) {
            // Nothing is said there; its end is the message.
        }
        Runtime.getRuntime().halt(0); // in no order: what it held is thrown away
    }

    private static int freePort() throws Exception {
        try (var socket = new ServerSocket(0)) {
            return socket.getLocalPort();
        }
    }
}
