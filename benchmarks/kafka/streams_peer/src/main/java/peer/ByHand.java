package peer;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.LongConsumer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/** Processor API: one message of counts for each batch, templates found as the product finds them. */
final class ByHand {
    private static final long BUCKET_MS = 10_000;

    private ByHand() {}

    static Topology topology(String from, String to, LongConsumer counted) {
        var bytes = Serdes.ByteArray();
        return new Topology()
                .addSource("batches", bytes.deserializer(), bytes.deserializer(), from)
                .addProcessor("count", () -> new Count(counted), "batches")
                .addSink("counts", to, bytes.serializer(), bytes.serializer(), "count");
    }

    /** One row of a batch's counts. */
    private record Cell(String service, String template, long bucket) {}

    /** As Cell, with its count: what goes on the wire. */
    public record Row(String service, String template, long bucket, int n) {}

    private static final class Count extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
        private final Canonical canonical = new Canonical();
        private final ObjectMapper json = new ObjectMapper();
        private final LongConsumer counted;

        Count(LongConsumer counted) {
            this.counted = counted;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            var batch = Batch.read(record.value());
            var text = batch.messages.getBytes(StandardCharsets.UTF_8);
            Map<Cell, int[]> counts = new HashMap<>();
            int start = 0;
            for (int i = 0; i < batch.lines(); i++) {
                int end = start;
                while (end < text.length && text[end] != '\n') {
                    end++;
                }
                var template = canonical.template(text, start, end);
                var cell = new Cell(batch.services[batch.service_index[i]], template, batch.timestamps[i] / BUCKET_MS);
                counts.computeIfAbsent(cell, none -> new int[1])[0]++;
                start = end + 1;
            }
            context().forward(record.withValue(write(counts)));
            counted.accept(batch.lines());
        }

        private byte[] write(Map<Cell, int[]> counts) {
            List<Row> rows = new ArrayList<>(counts.size());
            counts.forEach((cell, n) -> rows.add(new Row(cell.service, cell.template, cell.bucket, n[0])));
            try {
                return json.writeValueAsBytes(rows);
            } catch (JsonProcessingException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
