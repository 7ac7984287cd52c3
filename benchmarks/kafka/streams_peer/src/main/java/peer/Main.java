package peer;

import java.nio.file.Path;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.function.LongConsumer;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;

/** `peer.Main MODE BROKER FROM TO APPLICATION FOLDER WARM LINES`: reads all of FROM once, says when, and ends. */
public final class Main {
    private Main() {}

    public static void main(String[] words) throws InterruptedException {
        var from = words[2];
        var to = words[3];
        var marks = new Marks(Long.parseLong(words[6]), Long.parseLong(words[7]));
        var last = new CountDownLatch(1);
        LongConsumer counted = lines -> {
            if (marks.add(lines)) {
                last.countDown();
            }
        };
        var topology = switch (words[0]) {
            case "dsl-lines" -> Dsl.topology(from, to, true, counted);
            case "dsl-batches" -> Dsl.topology(from, to, false, counted);
            case "processor" -> ByHand.topology(from, to, counted);
            default -> throw new IllegalArgumentException(words[0]);
        };
        try (var streams = new KafkaStreams(topology, configuration(words[1], words[4], Path.of(words[5])))) {
            streams.start();
            last.await();
        }
        marks.done();
    }

    private static Properties configuration(String broker, String application, Path folder) {
        var given = new Properties();
        given.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        given.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, broker);
        given.put(StreamsConfig.STATE_DIR_CONFIG, folder.toString());
        given.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        given.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        given.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 << 20);
        given.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        given.put(ProducerConfig.ACKS_CONFIG, "all");
        return given;
    }
}
