-- A piece of the stream of a request, for the replica where its client reads it now.
-- KEYS: relay. ARGV: event id, message or an empty one, how many may wait, ms to live.
redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[3], '*', 'i', ARGV[1], 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
