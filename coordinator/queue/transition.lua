-- Moves a job from one phase to another, if it is in that phase and of that attempt.
-- KEYS: job, events, call, queued, running
-- ARGV: id, attempt, from, to, event level, event message, event data,
--       then pairs of field and value (agent, error_code, error_message, failure, result)
local job, events, call, queued, running = unpack(KEYS)
local id, attempt, from, to, level, message, data = unpack(ARGV)

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(call) then
  return done(job)
end
local phase = field(job, 'phase')
local current = field(job, 'attempt')
if phase ~= from or current ~= attempt then
  redis.call('DEL', call)
  return refuse('conflict', 'the job is ' .. phase .. ' in attempt ' .. current .. ', not ' .. from ..
                ' in attempt ' .. attempt .. ': ' .. id)
end
if to == 'queued' and field(job, 'cancel_requested') == '1' then
  redis.call('DEL', call)
  return refuse('conflict', 'the job is to be cancelled, not queued again: ' .. id)
end

local now = number_text(now_ms())
redis.call('HSET', job, 'phase', to)
if to == 'running' then
  redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HSET', job, 'started_at_ms', now)
  redis.call('HDEL', job, 'progress', 'error_code', 'error_message', 'failure', 'result')
else
  redis.call('HSET', job, 'agent', '')
end
for i = 8, #ARGV, 2 do
  redis.call('HSET', job, ARGV[i], ARGV[i + 1])
end
if to == 'succeeded' or to == 'failed' or to == 'cancelled' then
  redis.call('HSET', job, 'agent', '', 'finished_at_ms', now)
end

dequeue(job, id, queued)
redis.call('ZREM', running, id)
if to == 'queued' then
  enqueue(job, id, queued)
elseif to == 'running' then
  redis.call('ZADD', running, field(job, 'sequence'), id)
end
append_event(job, events, level, 'message', message, data, now)
return done(job)
