package peer;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.io.IOException;
import java.io.UncheckedIOException;

/** A batch of lines as it stands on the topic: columns, messages joined by newlines. */
public final class Batch {
    private static final ObjectReader READER =
            new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).readerFor(Envelope.class);

    public String[] services;
    public int[] service_index;
    public long[] timestamps;
    public String messages;

    /** The message's envelope: only its payload is of interest here. */
    public static final class Envelope {
        public Batch data;
    }

    static Batch read(byte[] value) {
        try {
            return READER.<Envelope>readValue(value).data;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    int lines() {
        return timestamps.length;
    }
}
