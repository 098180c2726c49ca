-- Moves a job from one phase to another, if it is in that phase and of that attempt.
-- KEYS: job, events, queued, running, leader
-- ARGV: call, id, attempt, from, to, leader's generation (0: none), event level, event message, event data,
--       then pairs of field and value
local job, events, queued, running, leader = unpack(KEYS)
local call, id, attempt, from, to, generation, level, message, data = unpack(ARGV)

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(job, call) then
  return done(job)
end
local refusal = fenced(leader, generation)
if refusal then
  return refusal
end
local phase = field(job, 'phase')
local current = field(job, 'attempt')
if phase ~= from or current ~= attempt then
  return refuse('conflict', 'the job is ' .. phase .. ' in attempt ' .. current .. ', not ' .. from ..
                ' in attempt ' .. attempt .. ': ' .. id)
end
local stop = field(job, 'stop')
if to == 'queued' and (stop == 'cancel' or stop == 'pause') then
  return refuse('conflict', 'the job is to stop (' .. stop .. '), not to be queued again: ' .. id)
end

local now = now_ms()
if from == 'running' then
  local ran = now - tonumber(field(job, 'started_at_ms'))
  redis.call('HINCRBY', job, 'device_ms', number_text(ran * tonumber(field(job, 'workers'))))
end
redis.call('HSET', job, 'phase', to, 'placement', '')
if not is_final(to) then
  redis.call('HSET', job, 'stop', 'none')
end
if to == 'running' then
  redis.call('HINCRBY', job, 'attempt', 1)
  redis.call('HSET', job, 'started_at_ms', number_text(now))
  redis.call('HDEL', job, 'progress', 'error_code', 'error_message', 'failure', 'result')
end
if #ARGV > 9 then
  redis.call('HSET', job, unpack(ARGV, 10))
end
if is_final(to) then
  redis.call('HSET', job, 'finished_at_ms', number_text(now))
end
remember_call(job, call)

if from == 'queued' then
  dequeue(job, id, queued)
elseif from == 'running' then
  redis.call('ZREM', running, id)
end
if to == 'queued' then
  enqueue(job, id, queued, number_text(now))
elseif to == 'running' then
  redis.call('ZADD', running, field(job, 'sequence'), id)
end
append_event(job, events, level, 'message', message, data, number_text(now))
return done(job)
