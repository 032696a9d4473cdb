package spool.bench;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The workloads of the engine bench on Kafka Streams, exactly-once, all settings at their defaults. Arguments: workload (count or join), brokers,
 * application id, input topic, table topic, output topic, state folder, record cache (default or off). Ends at SIGTERM; exits with 1 when a
 * stream thread dies.
 */
public final class KafkaStreamsPeer {
  public static void main(String[] args) throws InterruptedException {
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[1]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[2]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[6]);
    settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.BytesSerde.class);
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    settings.put("auto.offset.reset", "earliest");
    // The cache keeps back all but the last count of a key in each commit; without it there is a result for each input.
    if (args[7].equals("off")) settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);

    Topology topology = args[0].equals("count") ? count(args[3], args[5]) : join(args[3], args[4], args[5]);
    KafkaStreams streams = new KafkaStreams(topology, settings);
    CountDownLatch ended = new CountDownLatch(1);
    boolean[] failed = {false};
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          failed[0] = true;
          ended.countDown();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
    streams.start();
    ended.await();
    System.exit(failed[0] ? 1 : 0);
  }

  private static Topology count(String input, String output) {
    StreamsBuilder builder = new StreamsBuilder();
    builder
        .<Bytes, byte[]>stream(input)
        .groupByKey()
        .count(Materialized.<Bytes, Long, KeyValueStore<Bytes, byte[]>>as("counts").withKeySerde(Serdes.Bytes()).withValueSerde(Serdes.Long()))
        .toStream()
        .to(output, Produced.with(Serdes.Bytes(), Serdes.Long()));
    return builder.build();
  }

  private static Topology join(String input, String table, String output) {
    StreamsBuilder builder = new StreamsBuilder();
    KStream<Bytes, byte[]> stream = builder.stream(input);
    stream.join(builder.<Bytes, byte[]>table(table, Materialized.as("rows")), KafkaStreamsPeer::concat).to(output);
    return builder.build();
  }

  private static byte[] concat(byte[] left, byte[] right) {
    byte[] both = new byte[left.length + right.length];
    System.arraycopy(left, 0, both, 0, left.length);
    System.arraycopy(right, 0, both, left.length, right.length);
    return both;
  }
}
