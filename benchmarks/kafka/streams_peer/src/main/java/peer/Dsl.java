package peer;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.LongConsumer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/** Streams DSL: masked lines, grouped by service and template, counted in 10 s windows of the lines' own time. */
final class Dsl {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final long BUCKET_MS = WINDOW.toMillis();

    private Dsl() {}

    /** `perLine`: a record for each line, as tutorials do; else lines are first counted within their batch. */
    static Topology topology(String from, String to, boolean perLine, LongConsumer counted) {
        var builder = new StreamsBuilder();
        builder.stream(from, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .process(() -> perLine ? new LineByLine() : new BatchByBatch())
                .repartition(Repartitioned.with(Serdes.String(), Serdes.Long()).withName("templates"))
                .peek((key, n) -> counted.accept(n))
                .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, Duration.ofHours(1)))
                .reduce(Long::sum)
                .toStream((window, n) -> window.window().start() + "\t" + window.key())
                .to(to, Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    private static final class LineByLine extends ContextualProcessor<byte[], byte[], String, Long> {
        @Override
        public void process(Record<byte[], byte[]> record) {
            var batch = Batch.read(record.value());
            var lines = batch.messages.split("\n", -1);
            for (int i = 0; i < lines.length; i++) {
                var key = batch.services[batch.service_index[i]] + "\t" + Masks.template(lines[i]);
                context().forward(new Record<>(key, 1L, batch.timestamps[i]));
            }
        }
    }

    private static final class BatchByBatch extends ContextualProcessor<byte[], byte[], String, Long> {
        private record Cell(String key, long bucket) {}

        @Override
        public void process(Record<byte[], byte[]> record) {
            var batch = Batch.read(record.value());
            var lines = batch.messages.split("\n", -1);
            Map<Cell, Long> counts = new HashMap<>();
            for (int i = 0; i < lines.length; i++) {
                var key = batch.services[batch.service_index[i]] + "\t" + Masks.template(lines[i]);
                counts.merge(new Cell(key, batch.timestamps[i] / BUCKET_MS), 1L, Long::sum);
            }
            counts.forEach((cell, n) -> context().forward(new Record<>(cell.key, n, cell.bucket * BUCKET_MS)));
        }
    }
}
