-- A sign of life of calls that wait, and what became of them, for who missed being told. After slots.
--
-- ARGV from 6 the tickets
-- Answers {epoch, for each ticket 2: it has its slot, 1: it waits, 0: neither}

local epoch = open()
for i = 6, #ARGV do
  redis.call('ZADD', WAITING, 'XX', NOW + SIGN_MS, ARGV[i])
end
forget_expired()
hand_out()
local answer = { epoch }
for i = 6, #ARGV do
  if redis.call('ZSCORE', LEASES, ARGV[i]) then
    answer[#answer + 1] = '2'
  elseif redis.call('ZSCORE', WAITING, ARGV[i]) then
    answer[#answer + 1] = '1'
  else
    answer[#answer + 1] = '0'
  end
end
close()
return answer
