package spool.bench;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * How fast Kafka Streams handles a topic again, all settings at their defaults. Arguments: reprocess (counts by key, from the first record) or restore (a
 * table over the topic, whose local copy is lost), brokers, application id, topic, state folder, records in the topic. Says the seconds from the
 * first record to the last.
 */
public final class KafkaStreamsReplay {
  private static final AtomicLong seen = new AtomicLong();
  private static final AtomicLong first = new AtomicLong();
  private static final AtomicLong last = new AtomicLong();

  public static void main(String[] args) throws InterruptedException {
    boolean restore = args[0].equals("restore");
    long records = Long.parseLong(args[5]);
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[1]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, args[2]);
    settings.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.BytesSerde.class);
    settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
    settings.put("auto.offset.reset", "earliest");
    // The topic itself is the table's changelog.
    settings.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
    // Without the cache a table passes on each record, so that the end is seen.
    if (restore) settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    run(restore, args[3], settings, records, false);
    if (restore) {
      seen.set(0);
      first.set(0);
      run(true, args[3], settings, records, true);
    }
    System.out.println("{\"records\":" + seen.get() + ",\"seconds\":" + (last.get() - first.get()) / 1e9 + "}");
    System.exit(0);
  }

  private static void run(boolean table, String topic, Properties settings, long records, boolean restored) throws InterruptedException {
    StreamsBuilder builder = new StreamsBuilder();
    CountDownLatch done = new CountDownLatch(1);
    if (table) builder.<Bytes, byte[]>table(topic, Materialized.as("rows")).toStream().foreach((key, value) -> count(1, restored ? -1 : records, done));
    else {
      builder.<Bytes, byte[]>stream(topic).groupByKey().count(Materialized.as("counts"));
      builder.<Bytes, byte[]>stream(topic).foreach((key, value) -> count(1, records, done));
    }
    KafkaStreams streams = new KafkaStreams(builder.build(settings), settings);
    if (restored) {
      streams.cleanUp();
      streams.setGlobalStateRestoreListener(
          new StateRestoreListener() {
            public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

            public void onBatchRestored(TopicPartition partition, String store, long end, long batch) {
              count(batch, records, done);
            }

            public void onRestoreEnd(TopicPartition partition, String store, long total) {}
          });
    }
    streams.start();
    done.await();
    // What is handled is committed on the way out.
    streams.close(Duration.ofSeconds(30));
  }

  private static void count(long of, long until, CountDownLatch done) {
    long now = System.nanoTime();
    first.compareAndSet(0, now);
    if (seen.addAndGet(of) == until) {
      last.set(now);
      done.countDown();
    }
  }
}
