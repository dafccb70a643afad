-- The directory's generation: another one once everything in it was forgotten.
--
-- KEYS: the generation (hash: id, since)
-- ARGV: what it is called if it begins now, ms that it lasts unless somebody asks again
-- Answers what it is called.

if redis.call('EXISTS', KEYS[1]) == 0 then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'since', now)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('HGET', KEYS[1], 'id')
