-- A letter for a replica, if there is such a replica: an id that somebody made up costs no memory.
-- KEYS: alive, inbox. ARGV: letter, how many may wait, ms to live, channel.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], '*', 'l', ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PUBLISH', ARGV[4], 'letters')
return 1
