-- A session begins, or is written again to a Redis that has lost it. What was ended stays so.
-- KEYS: state. ARGV: replica, ms to live, owner, opening, then name and request of what it keeps.
if redis.call('HEXISTS', KEYS[1], 'ended') == 1 then return 'ended' end
redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'opening', ARGV[4], 'at:' .. ARGV[1], 1)
for i = 5, #ARGV, 2 do redis.call('HSET', KEYS[1], 'keep:' .. ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'here'
